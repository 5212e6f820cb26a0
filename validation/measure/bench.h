// The bench that a case runs on: one GPU, one stream, the timer, and what every family needs to know of the device.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "case.h"
#include "host.h"

namespace memwall::measure {

/// The device as its driver describes it, and what nvidia-smi adds ("" where it is not there).
struct DeviceFacts {
    std::string name, driver, cuda, uuid;
    int sms = 0;
    std::size_t l2_bytes = 0, memory_bytes = 0;
    int bus_bits = 0, memory_mhz = 0, sm_mhz_max = 0;
    std::string power_limit_w, temperature_c, power_w, sm_mhz_now;
};

struct Timing {
    std::vector<double> us;   ///< one launch, one sample per replay
    double sm_clock_mhz = 0;  ///< mean over SMs, from clock64 over globaltimer, across the samples
    std::string method;
};

class Bench {
public:
    /// Throws CudaError when device `ordinal` is no Hopper (compute capability 9.0).
    explicit Bench(int ordinal = 0);
    ~Bench();
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    [[nodiscard]] const DeviceFacts& facts() const { return facts_; }
    /// Reads temperature, power and clock again.
    void refresh_facts();
    [[nodiscard]] cudaStream_t stream() const { return stream_; }
    [[nodiscard]] int sms() const { return facts_.sms; }
    /// A fresh seed for each case's inputs.
    [[nodiscard]] std::uint64_t seed() { return ++seed_; }

    /// How many copies of inputs of `bytes` must take turns: 1 when `cache` is not "cold", else as many as exceed three
    /// times the L2, at least 2.
    [[nodiscard]] int copies(std::size_t bytes, const std::string& cache) const;

    /// Time of one launch as a node of a CUDA graph: `launch(i)` puts launch i (of copy i % copies) on stream(), and is
    /// called once per node when the graph is made. Replays for about `budget_ms` after a warm-up.
    Timing graph(int copies, double budget_ms, const std::function<void(int)>& launch);
    /// The same, launch after launch on the stream without a graph.
    Timing in_stream(int copies, double budget_ms, const std::function<void(int)>& launch);
    /// Time of one replay of a graph of `nodes` launches, among many replays that follow one another.
    Timing replays(int nodes, double budget_ms, const std::function<void(int)>& launch);
    /// Runs `body` once between two readings of all SMs' clocks and returns the mean clock in MHz.
    double clock_during(const std::function<void()>& body);

    void synchronize() const;

private:
    /// Time of one of the `parts` of a round, in each of as many rounds as take about 0.6 of `budget_ms`, after two.
    Timing rounds_of(int parts, double budget_ms, const std::function<void()>& round);
    void stamp_clocks(int which);
    [[nodiscard]] double clock_between_stamps() const;

    DeviceFacts facts_;
    cudaStream_t stream_ = nullptr;
    kernels::DeviceBuffer stamps_;
    std::uint64_t seed_ = 0;
};

/// |out - reference| / |reference| over device arrays of bf16 and fp32; infinite when any value of `out` is not finite.
double relative_error(const void* out_bf16, const float* reference, std::size_t elements, cudaStream_t stream);
/// The same, fp32 against fp32.
double relative_error_fp32(const float* out, const float* reference, std::size_t elements, cudaStream_t stream);
/// True when no bf16 of `data` is NaN or infinite: after poison(), that every element was written.
bool all_finite(const void* data_bf16, std::size_t elements, cudaStream_t stream);

// The families (families/*.cu): each runs the cases that its add_*_cases adds.
Outcome measure_latency(const Case& c, Bench& bench);
Outcome measure_bandwidth(const Case& c, Bench& bench);
Outcome measure_engine(const Case& c, Bench& bench);
Outcome measure_launch(const Case& c, Bench& bench);
Outcome measure_experiment(const Case& c, Bench& bench);
Outcome measure_gemm(const Case& c, Bench& bench);
Outcome measure_skinny(const Case& c, Bench& bench);
Outcome measure_attention(const Case& c, Bench& bench);
Outcome measure_rows(const Case& c, Bench& bench);
Outcome measure_layer(const Case& c, Bench& bench);

}  // namespace memwall::measure
