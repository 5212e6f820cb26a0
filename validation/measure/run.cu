#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>
#include <thread>

#include "bench.h"
#include "record.h"
#include "record_tiles.h"
#include "run.h"

namespace memwall::measure {

namespace {

constexpr auto kLongestCase = std::chrono::seconds(60);

std::string now_utc() {
    const std::time_t now = std::time(nullptr);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
    return text;
}

Json facts_of(const DeviceFacts& f) {
    return {{"name", f.name},
            {"driver", f.driver},
            {"cuda", f.cuda},
            {"sms", f.sms},
            {"l2_bytes", f.l2_bytes},
            {"memory_bytes", f.memory_bytes},
            {"memory_bus_bits", f.bus_bits},
            {"memory_clock_mhz", f.memory_mhz},
            {"sm_clock_max_mhz", f.sm_mhz_max},
            {"sm_clock_at_start_mhz", f.sm_mhz_now},
            {"power_limit_w", f.power_limit_w},
            {"temperature_at_start_c", f.temperature_c}};
}

Outcome run_case(const Case& c, Bench& bench) {
    switch (c.family) {
        case Family::latency:
            return measure_latency(c, bench);
        case Family::bandwidth:
            return measure_bandwidth(c, bench);
        case Family::engine:
            return measure_engine(c, bench);
        case Family::launch:
            return measure_launch(c, bench);
        case Family::experiment:
            return measure_experiment(c, bench);
        case Family::gemm:
            return measure_gemm(c, bench);
        case Family::skinny:
            return measure_skinny(c, bench);
        case Family::attention:
            return measure_attention(c, bench);
        case Family::rows:
            return measure_rows(c, bench);
        case Family::layer:
            return measure_layer(c, bench);
    }
    throw std::logic_error("a family without a runner");
}

/// Ends the process when a case takes too long: a kernel that waits for ever cannot be stopped otherwise. `status`: the
/// exit status then.
class Watchdog {
public:
    explicit Watchdog(int status = kRestart) : status_(status), thread_([this] { watch(); }) {}
    ~Watchdog() {
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

private:
    void watch() {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, kLongestCase, [this] { return over_; })) return;
        std::fprintf(stderr, "\nmemwall-measure: the case did not end within %d s\n",
                     static_cast<int>(kLongestCase.count()));
        _exit(status_);
    }
    const int status_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool over_ = false;
    std::thread thread_;
};

/// The bench, or the reason why this device is none for these kernels as bad input.
std::unique_ptr<Bench> bench_on(int gpu) {
    int count = 0;
    const cudaError_t found = cudaGetDeviceCount(&count);
    if (found != cudaSuccess || count <= gpu) {
        throw InputError("no GPU " + std::to_string(gpu) + " here (" +
                         (found == cudaSuccess ? std::to_string(count) + " devices" : cudaGetErrorString(found)) +
                         "); a Hopper GPU is needed to measure, --list works without");
    }
    try {
        return std::make_unique<Bench>(gpu);
    } catch (const kernels::CudaError& error) {
        throw InputError(error.what());
    }
}

/// One line per case on a log, one line that is written over on a terminal.
class Progress {
public:
    explicit Progress(std::size_t cases) : cases_(cases), terminal_(isatty(STDERR_FILENO) != 0) {}
    void begins(const Case& c, std::size_t index) const {
        if (terminal_) std::fprintf(stderr, "\r\033[K[%zu/%zu] %s", index + 1, cases_, c.id().c_str());
    }
    void ended(const Case& c, std::size_t index, const Json& record) const {
        const bool good = record["status"] == "ok";
        if (terminal_ && good) return;
        const std::string what =
            good ? record["value"].dump() + " " + c.metric : "FAILED: " + record.value("reason", "");
        std::fprintf(stderr, "%s[%zu/%zu] %s  %s\n", terminal_ ? "\r\033[K" : "", index + 1, cases_, c.id().c_str(),
                     what.c_str());
    }
    void over() const {
        if (terminal_) std::fprintf(stderr, "\r\033[K");
    }

private:
    std::size_t cases_;
    bool terminal_;
};

/// Runs one case; what goes wrong becomes its record.
Json run_to_record(const Case& c, Bench& bench, const Setting& setting) {
    const Watchdog watchdog;
    try {
        const Outcome outcome = run_case(c, bench);
        bench.synchronize();
        return record_of(c, outcome, setting);
    } catch (const std::exception& error) {
        return failed_record(c, error.what(), setting);
    }
}

/// True when nothing more can be done in this process: an error of the device stays with its context.
bool context_is_broken() {
    cudaGetLastError();
    return cudaDeviceSynchronize() != cudaSuccess;
}

int run_cases(const Cases& cases, Bench& bench, ResultsFile& results, const Setting& setting) {
    const Progress progress(cases.size());
    bool all_good = true;
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const Case& c = cases[i];
        if (results.has(c)) continue;
        progress.begins(c, i);
        results.add(failed_record(c, "the program ended while this case ran: a crash, or more than a minute", setting));
        const Json record = run_to_record(c, bench, setting);
        results.add(record);
        progress.ended(c, i, record);
        all_good = all_good && record["status"] == "ok";
        if (context_is_broken()) return kRestart;
    }
    progress.over();
    std::fprintf(stderr, "%zu records, %zu failed\n", results.size(), results.failed());
    return all_good && results.failed() == 0 ? 0 : 1;
}

}  // namespace

int work(const Arguments& arguments) {
    const Cases cases = chosen_cases(arguments);
    const std::unique_ptr<Bench> owner = bench_on(arguments.gpu);
    Bench& bench = *owner;
    const DeviceFacts& facts = bench.facts();
    const Setting setting{arguments.device_label.empty() ? device_label(facts.name) : arguments.device_label,
                          facts_of(facts), now_utc(), arguments.run};
    int status = 0;
    if (!arguments.out.empty()) {
        ResultsFile results(arguments.out, setting);
        status = run_cases(cases, bench, results, setting);
        if (status == kRestart) return status;
    }
    if (!arguments.record_tiles.empty()) {
        const Watchdog watchdog(1);  // started again, it would hang again
        record_tiles(arguments.record_tiles, setting, bench);
    }
    return status;
}

}  // namespace memwall::measure
