// memwall calibrate: a device description whose inferred and assumed parts are fitted to measured microbenchmarks.

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/json_reader.h"
#include "cli/options.h"
#include "cli/replay.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "validate/calibration.h"
#include "validate/statistics.h"

namespace memwall::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMostRecords = 3;  // of one cause, spread: more would say the same
constexpr double kTolerance = 0.003;     // of the relative error
constexpr double kFurthest = 5;          // times the number in the description

struct CalibrateOptions {
    std::string device, product, out;
    std::vector<std::string> references, sets;
};

const device::Entry& entry_of(const device::Description& description, const std::string& pointer) {
    const auto at = std::find_if(description.entries.begin(), description.entries.end(),
                                 [&](const device::Entry& entry) { return entry.pointer == pointer; });
    if (at == description.entries.end()) throw InputError(pointer, "no such entry", "a pointer into the description");
    return *at;
}

class Calibration {
public:
    Calibration(const CalibrateOptions& o, const ConfigDirs& configs)
        : options_(o),
          configs_(configs),
          replay_(configs, {}, std::numeric_limits<double>::infinity()),
          description_(device::read_description(o.device, configs.devices, o.sets)),
          product_(o.product.empty() ? description_.device.name : o.product),
          sets_(o.sets),
          records_(validate::read_records(o.references)) {}

    void run() {
        fmt::print("{:<38} {:<46} {:>3} {:>10} {:>10} {:>9} {:>9}\n", "cause", "number", "n", "was", "is", "error was",
                   "error is");
        for (const validate::Cause& cause : validate::causes()) fit(cause);
        if (entries_.empty())
            throw InputError(
                "memwall calibrate --reference",
                fmt::format("no microbenchmark of {} that shows a part marked inferred or assumed", product_),
                "micro records of latency, bandwidth and launch, such as memwall-measure writes");
        write();
    }

private:
    /// Median of the logarithms of simulated over measured.
    double error(const std::vector<validate::Record>& records, const std::string& pointer, double value) const {
        auto sets = sets_;
        sets.push_back(fmt::format("{}={}", pointer, value));
        const device::Device device = device::load_device(options_.device, configs_.devices, sets);
        std::vector<double> logs;
        for (const validate::Record& r : records) {
            const validate::Simulation s = replay_.simulate(r, device);
            if (s.skipped.empty()) logs.push_back(std::log(s.simulated / r.value));
        }
        if (logs.empty()) throw ModelError(fmt::format("{}: none of its records could be simulated", pointer));
        return validate::median(std::move(logs));
    }

    void fit(const validate::Cause& cause) {
        const device::Entry& entry = entry_of(description_, cause.pointer);
        const auto records = validate::records_of(cause, records_, description_.device, product_, kMostRecords);
        const auto line = [&](const std::string& rest) {
            fmt::print("{:<38} {:<46} {:>3} {}\n", cause.what, cause.pointer, records.size(), rest);
            std::fflush(stdout);
        };
        if (records.empty()) return line("no record shows it");
        if (entry.kind != "inferred" && entry.kind != "assumed") return line(fmt::format("kept: it is {}", entry.kind));
        const double start = std::strtod(entry.value.c_str(), nullptr);
        const validate::Fit fit =
            validate::fit_parameter([&](double value) { return error(records, cause.pointer, value); }, start,
                                    start / kFurthest, start * kFurthest, kTolerance);
        const auto percent = [](double logarithm) { return 100 * (std::exp(logarithm) - 1); };
        const double value = std::round(fit.value * 1e4) / 1e4;
        line(fmt::format("{:>10.4g} {:>10.4g} {:>+8.1f}% {:>+8.1f}%{}", start, value, percent(fit.error_before),
                         percent(fit.error_after), fit.bracketed ? "" : "  no value inside its range would do"));
        if (!fit.bracketed) return;  // another part is to blame: the number stays what it was
        std::string ids;
        for (const validate::Record& r : records) ids += (ids.empty() ? "" : ", ") + r.id;
        entries_.push_back(
            {cause.pointer, entry.unit,
             fmt::format("fitted to {} ({}); median error {:+.1f} % before, {:+.1f} % after; it was {} "
                         "({}: {})",
                         records.size() == 1 ? "1 microbenchmark" : fmt::format("{} microbenchmarks", records.size()),
                         ids, percent(fit.error_before), percent(fit.error_after), entry.value, entry.kind,
                         entry.source),
             value});
        sets_.push_back(fmt::format("{}={}", cause.pointer, value));
    }

    void write() const {
        const std::string name = fs::path(options_.out).stem().string();
        const bool is_path = fs::exists(options_.device);
        const std::string base = is_path ? fs::absolute(options_.device).string() : options_.device;
        const std::string text =
            fmt::format("{}; parts fitted to microbenchmarks of {}", description_.device.description, product_);
        atomic_write(options_.out, validate::calibrated_device(name, base, text, entries_));
        (void)device::load_device(options_.out, configs_.devices, {});  // what was written must be a device
        fmt::print("\n{} of {} numbers fitted; written: {}\n", entries_.size(), validate::causes().size(),
                   options_.out);
    }

    const CalibrateOptions& options_;
    const ConfigDirs& configs_;
    Replay replay_;
    device::Description description_;
    std::string product_;
    std::vector<std::string> sets_;
    std::vector<validate::Record> records_;
    std::vector<validate::FittedEntry> entries_;
};

}  // namespace

int calibrate_verb(std::vector<std::string> arguments) {
    CLI::App app("Fits the inferred and assumed parts of a device to measured microbenchmarks, one cause at a time.",
                 "memwall calibrate");
    CalibrateOptions o;
    app.add_option("--device", o.device, "device by name or path")->required();
    app.add_option("--reference", o.references, "files of schema memwall-reference/1; only micro records are used")
        ->required();
    app.add_option("--out", o.out, "the new device file")->required();
    app.add_option("--product", o.product, "the records' device, when it is not the description's name");
    app.add_option("--set", o.sets, "/json/pointer=value, before anything is fitted")->allow_extra_args(false);
    if (const auto status = parse(app, std::move(arguments))) return *status;
    if (fs::path(o.out).extension() != ".json")
        throw InputError("memwall calibrate --out", o.out, "a name that ends in .json");
    const ConfigDirs configs = find_configs();
    Calibration(o, configs).run();
    return 0;
}

}  // namespace memwall::cli
