// memwall correlate: every reference record simulated, each in a process of its own, and what that says of the model.

#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/json_reader.h"
#include "cli/options.h"
#include "cli/replay.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "validate/bands.h"
#include "validate/correlation.h"
#include "workload/model.h"

namespace memwall::cli {

namespace fs = std::filesystem;

namespace {

struct CorrelateOptions {
    std::vector<std::string> references, recordings, sets, devices;
    std::map<std::string, std::string> stand_ins;  ///< from `devices`
    std::string out, only;
    int jobs = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    double most_tflop = 10;
    bool resume = false;
};

std::uint64_t fnv1a(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325ULL) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return hash;
}

/// What a result depends on beside the record: this program, the devices and the models.
std::uint64_t situation_of(const CorrelateOptions& o, const ConfigDirs& configs) {
    std::uint64_t hash = fnv1a(read_text("/proc/self/exe"));
    std::vector<std::string> names = device::list_devices(configs.devices);
    for (const auto& [product, name] : o.stand_ins) {
        hash = fnv1a(product, hash);
        names.push_back(name);
    }
    for (const std::string& name : names)
        for (const auto& entry : device::read_description(name, configs.devices, {}).entries)
            hash = fnv1a(entry.pointer + "=" + entry.value, hash);
    for (const std::string& name : workload::list_models(configs.roots)) {
        const workload::Model m = workload::load_model(name, configs.roots);
        hash = fnv1a(fmt::format("{}:{},{},{},{},{},{},{},{};", name, m.hidden, m.intermediate, m.layers, m.heads,
                                 m.kv_heads, m.head_dim, m.vocabulary, m.window),
                     hash);
    }
    for (const std::string& set : o.sets) hash = fnv1a(set, hash);
    return hash;
}

/// A record that an earlier run left out for its length, which this one may have time for.
bool left_out(const fs::path& file) {
    return simulation_of(load_json(file), file.string()).skipped.ends_with(kTooLong);
}

/// PRODUCT=DEVICE of each `--device`. Throws InputError.
std::map<std::string, std::string> stand_ins_of(const std::vector<std::string>& devices) {
    std::map<std::string, std::string> stand_ins;
    for (const std::string& text : devices) {
        const auto equals = text.find('=');
        if (equals == std::string::npos || equals == 0 || equals + 1 == text.size() ||
            !stand_ins.emplace(text.substr(0, equals), text.substr(equals + 1)).second)
            throw InputError("memwall correlate --device", "\"" + text + "\"",
                             "PRODUCT=DEVICE, each product once: h200-sxm=calibrated.json");
    }
    return stand_ins;
}

std::string file_of(const validate::Record& r, std::uint64_t situation) {
    std::string text = fmt::format("{}{}{}{}{}{},{},{};", r.device, r.kind, r.op, r.metric, r.warm ? "w" : "c",
                                   static_cast<int>(r.timing), r.graph_ops, r.graph_replays);
    for (const auto& [key, value] : r.params) text += fmt::format("{}={};", key, value);
    for (const auto& [key, value] : r.schedule) text += fmt::format("{}={};", key, value);
    text += r.sm_clock_mhz ? fmt::format("{}{}", *r.sm_clock_mhz, r.clock_is_ceiling ? "at most" : "") : "";
    const Repetition& n = r.repetition;
    text += fmt::format(";{},{},{},{}", n.warmups, n.repeats, n.warmup_ms, n.timed_ms);
    return fmt::format("{:016x}.json", fnv1a(text + r.failure, situation));
}

/// Processes that simulate a record each. Records of the same work are simulated once.
class Workers {
public:
    Workers(const CorrelateOptions& o, const Replay& replay, fs::path folder)
        : options_(o), replay_(replay), folder_(std::move(folder)), terminal_(isatty(STDERR_FILENO) != 0) {}

    void run(const std::vector<validate::Record>& records, const std::vector<std::string>& files) {
        std::map<std::string, bool> started;
        total_ = 0;
        for (const std::string& file : files) started.emplace(file, false);
        total_ = started.size();
        for (std::size_t i = 0; i < records.size(); ++i) {
            if (std::exchange(started[files[i]], true)) continue;
            if (options_.resume && fs::exists(folder_ / files[i]) && !left_out(folder_ / files[i])) {
                ++done_;
                continue;
            }
            while (static_cast<int>(busy_.size()) >= options_.jobs) wait_for_one();
            start(records[i], folder_ / files[i]);
        }
        while (!busy_.empty()) wait_for_one();
        if (terminal_) fmt::print(stderr, "\r{:70}\r", "");
    }

private:
    void start(const validate::Record& record, const fs::path& file) {
        std::fflush(nullptr);
        const pid_t child = fork();
        if (child < 0) throw HostError(fmt::format("cannot start a process: {}", std::strerror(errno)));
        if (child == 0) {
            int status = 0;
            try {
                atomic_write(file, to_json(replay_.simulate(record)).dump());
            } catch (const std::exception& error) {
                fmt::print(stderr, "memwall correlate: {}: {}\n", record.id, error.what());
                status = 1;
            }
            std::fflush(nullptr);
            _exit(status);
        }
        busy_[child] = {record.id, file};
    }

    void wait_for_one() {
        int status = 0;
        const pid_t child = waitpid(-1, &status, 0);
        if (child < 0) throw HostError(fmt::format("waiting for a process: {}", std::strerror(errno)));
        const auto at = busy_.find(child);
        if (at == busy_.end()) return;
        const auto [id, file] = at->second;
        busy_.erase(at);
        if (WIFSIGNALED(status)) {
            validate::Simulation lost;
            lost.skipped = fmt::format("simulating it ended with signal {}", WTERMSIG(status));
            atomic_write(file, to_json(lost).dump());
        } else if (WEXITSTATUS(status) != 0) {
            throw HostError(fmt::format("{}: its result could not be kept", id));
        }
        ++done_;
        if (terminal_) fmt::print(stderr, "\r{} of {} simulated, last {:.40} ", done_, total_, id);
    }

    const CorrelateOptions& options_;
    const Replay& replay_;
    fs::path folder_;
    bool terminal_;
    std::size_t done_ = 0, total_ = 0;
    std::map<pid_t, std::pair<std::string, fs::path>> busy_;
};

void write_outputs(const fs::path& folder, const std::vector<validate::Result>& results,
                   const validate::Summary& summary) {
    atomic_write(folder / "correlation.json", validate::to_json(results, summary));
    atomic_write(folder / "correlation.md", validate::to_markdown(results, summary));
    atomic_write(folder / "bands.json", validate::bands_json(results));
    atomic_write(folder / "correlation.html", validate::to_html(results, summary));
}

}  // namespace

int correlate_verb(std::vector<std::string> arguments) {
    CLI::App app("Simulates reference records and tells the error by operation, source and device.",
                 "memwall correlate");
    CorrelateOptions o;
    app.add_option("--reference", o.references, "files of schema memwall-reference/1");
    app.add_option("--recording", o.recordings,
                   "instead: files of tiles that memwall-measure --record-tiles wrote, laid beside the simulated ones");
    app.add_option("--out", o.out,
                   "folder for correlation.json, .md and .html, and bands.json, which `run` reads from configs/")
        ->required();
    app.add_option("--only", o.only, "only the records whose id, operation or device contains this");
    app.add_option("--device", o.devices,
                   "PRODUCT=DEVICE: records of this product on that device, such as a file that `calibrate` wrote")
        ->allow_extra_args(false);
    app.add_option("--set", o.sets, "/json/pointer=value, on every device")->allow_extra_args(false);
    app.add_option("--jobs", o.jobs, "processes at a time")->check(CLI::Range(1, 1024));
    app.add_option("--most-tflop", o.most_tflop,
                   "skip records of more arithmetic than this, in the layers simulated: 10 TFLOP take some minutes")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_flag("--resume", o.resume, "keep what an earlier run with the same program and devices simulated");
    if (const auto status = parse(app, std::move(arguments))) return *status;

    if (o.references.empty() == o.recordings.empty())
        throw InputError("memwall correlate", o.references.empty() ? "neither" : "both", "--reference or --recording");
    o.stand_ins = stand_ins_of(o.devices);
    if (!o.recordings.empty()) return compare_recordings(o.recordings, o.out, o.sets, o.stand_ins);
    const ConfigDirs configs = find_configs();
    std::vector<validate::Record> records = validate::read_records(o.references);
    std::erase_if(records, [&](const validate::Record& r) {
        return (r.id + " " + r.op + " " + r.device).find(o.only) == std::string::npos;
    });
    if (records.empty())
        throw InputError("memwall correlate --only", fmt::format("\"{}\", which no record contains", o.only),
                         "a part of a record's id, operation or device");
    const fs::path folder = o.out, kept = folder / "records";
    std::error_code failed;
    fs::create_directories(kept, failed);
    if (failed) throw HostError(fmt::format("{}: cannot make this folder: {}", kept.string(), failed.message()));

    const Replay replay(configs, o.sets, o.most_tflop, o.stand_ins);
    const std::uint64_t situation = situation_of(o, configs);
    std::vector<std::string> files;
    files.reserve(records.size());
    for (const validate::Record& r : records) files.push_back(file_of(r, situation));
    Workers(o, replay, kept).run(records, files);
    std::vector<validate::Simulation> simulations;
    bool broken = false;
    for (const std::string& file : files) {
        simulations.push_back(simulation_of(load_json(kept / file), (kept / file).string()));
        broken = broken || simulations.back().skipped.starts_with(kBroken);
    }
    const auto results = validate::compare(std::move(records), std::move(simulations));
    const validate::Summary summary = validate::summarise(results);
    write_outputs(folder, results, summary);
    fmt::print("{}\nwritten: {}\n", validate::to_markdown(results, summary), (folder / "correlation.html").string());
    return broken ? 3 : 0;
}

}  // namespace memwall::cli
