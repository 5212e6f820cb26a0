// Launch costs.

#include <vector>

#include "bench.h"
#include "launches.h"

namespace memwall::measure {

using kernels::DeviceBuffer;

namespace {

Outcome of(const Timing& timing) {
    return {timing.us, timing.sm_clock_mhz, {}, timing.method, nullptr};
}

Outcome run_launch(const Case& c, Bench& bench) {
    const std::int64_t bytes = c.number("bytes");
    const std::string runtime = c.text("runtime");
    const DeviceBuffer from(static_cast<std::size_t>(bytes) + 16), to(static_cast<std::size_t>(bytes) + 16);
    kernels::fill_random(from.as(), from.bytes() / 2, kernels::Dtype::bf16, bench.seed(), bench.stream());
    const bool dependent = runtime == "pdl";
    const auto launch = [&](int) {
        if (bytes == 0) {
            kernels::empty_kernel(bench.stream(), dependent);
        } else {
            kernels::copy_kernel(from.as(), to.as(), bytes, bench.stream(), dependent);
        }
    };
    if (c.op == "graph_replay") return of(bench.replays(static_cast<int>(c.number("nodes")), c.gpu_ms * 0.6, launch));
    return of(runtime == "graph" ? bench.graph(1, c.gpu_ms * 0.6, launch) : bench.in_stream(1, c.gpu_ms * 0.6, launch));
}

/// Turnover of a CTA slot: the time that many waves of empty CTAs take, by wave.
Outcome run_dispatch(const Case& c, Bench& bench) {
    constexpr int kWaves = 400;
    const auto per_sm = static_cast<int>(c.number("ctas_per_sm")), threads = static_cast<int>(c.number("threads"));
    const auto time = [&](int waves) {
        const int ctas = waves * per_sm * bench.sms();
        return bench.graph(1, c.gpu_ms * 0.25,
                           [&](int) { kernels::empty_ctas(ctas, threads, per_sm, bench.stream()); });
    };
    const Timing few = time(kWaves / 4), many = time(kWaves);
    Outcome outcome;
    outcome.sm_clock_mhz = many.sm_clock_mhz;
    const std::size_t samples = std::min(few.us.size(), many.us.size());
    for (std::size_t i = 0; i < samples; ++i) {
        const double wave_us = (many.us[i] - few.us[i]) / (kWaves - kWaves / 4);
        outcome.samples.push_back(wave_us * many.sm_clock_mhz);
    }
    const double wave_us = outcome.samples.front() / many.sm_clock_mhz;
    outcome.details = {{"ctas_per_us", per_sm * bench.sms() / wave_us}, {"wave_ns", wave_us * 1e3}};
    outcome.method = "difference between 400 and 100 waves of empty CTAs, per wave";
    return outcome;
}

Outcome run_grid_barrier(const Case& c, Bench& bench) {
    constexpr int kTimes = 1000;
    const DeviceBuffer memory(16);
    Outcome outcome;
    for (int sample = 0; sample < 7; ++sample) {
        kernels::check(cudaMemsetAsync(memory.as(), 0, 16, bench.stream()), "cudaMemsetAsync");
        auto* cycles = memory.as<std::uint64_t>() + 1;
        const double mhz = bench.clock_during(
            [&] { kernels::grid_barriers(kTimes, memory.as<std::uint32_t>(), cycles, bench.stream()); });
        std::uint64_t host = 0;
        kernels::check(cudaMemcpy(&host, cycles, sizeof host, cudaMemcpyDeviceToHost), "cudaMemcpy");
        if (host == 0) throw std::runtime_error("the CTAs did not all meet: they were not resident together");
        outcome.sm_clock_mhz = mhz;
        outcome.samples.push_back(static_cast<double>(host) / mhz / kTimes);
    }
    outcome.method = "clock64 of SM 0 over " + std::to_string(kTimes) + " meetings of one thread per SM at a counter";
    outcome.details = {{"ctas", bench.sms() * c.number("ctas_per_sm")}};
    return outcome;
}

}  // namespace

Outcome measure_launch(const Case& c, Bench& bench) {
    if (c.op == "launch" || c.op == "graph_replay") return run_launch(c, bench);
    if (c.op == "cta_dispatch") return run_dispatch(c, bench);
    if (c.op == "grid_barrier") return run_grid_barrier(c, bench);
    const auto size = static_cast<int>(c.number("cluster_size"));
    return of(bench.graph(1, c.gpu_ms * 0.6, [&](int) { kernels::empty_clusters(size, bench.stream()); }));
}

}  // namespace memwall::measure
