#include <cuda_bf16.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <limits>
#include <memory>
#include <sstream>

#include "bench.h"
#include "hopper.cuh"

namespace memwall::measure {

using kernels::check;

namespace {

/// More than any chip has; SM ids stay below it.
constexpr int kMostSms = 512;

struct Stamp {
    std::uint64_t cycles, ns;
};

/// One CTA on each SM, because each takes most of an SM's shared memory: its two clocks, by SM.
__global__ void stamp_kernel(Stamp* stamps) {
    const std::uint32_t sm = kernels::sm_id();
    if (threadIdx.x == 0 && sm < kMostSms) stamps[sm] = {kernels::clock_now(), kernels::global_timer()};
}
constexpr std::size_t kStampSharedBytes = 200 << 10;

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
    return value;
}

/// What nvidia-smi says to a query, field by field; empty fields where there is no nvidia-smi.
std::vector<std::string> ask_nvidia_smi(const std::string& fields, const std::string& uuid, std::size_t count) {
    std::vector<std::string> answers(count);
    const std::string command =
        "nvidia-smi --query-gpu=" + fields + " --format=csv,noheader,nounits --id=" + uuid + " 2>/dev/null";
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), &pclose);
    if (!pipe) return answers;
    std::array<char, 1024> line{};
    if (std::fgets(line.data(), line.size(), pipe.get()) == nullptr) return answers;
    std::istringstream in(line.data());
    for (std::string& answer : answers) {
        std::getline(in, answer, ',');
        answer.erase(0, answer.find_first_not_of(" \n"));
        answer.erase(answer.find_last_not_of(" \n") + 1);
    }
    return answers;
}

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string uuid_text(const cudaUUID_t& uuid) {
    std::string text = "GPU-";
    constexpr const char* kHex = "0123456789abcdef";
    for (std::size_t i = 0; i < sizeof(uuid.bytes); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        const auto byte = static_cast<unsigned char>(uuid.bytes[i]);
        text += kHex[byte / 16];
        text += kHex[byte % 16];
    }
    return text;
}

DeviceFacts read_facts(int ordinal) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
    DeviceFacts facts;
    facts.name = properties.name;
    facts.uuid = uuid_text(properties.uuid);
    int version = 0;
    check(cudaRuntimeGetVersion(&version), "cudaRuntimeGetVersion");
    facts.cuda = version_text(version);
    check(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
    facts.driver = "CUDA " + version_text(version);
    facts.sms = properties.multiProcessorCount;
    facts.l2_bytes = static_cast<std::size_t>(attribute(cudaDevAttrL2CacheSize, ordinal));
    facts.memory_bytes = properties.totalGlobalMem;
    facts.bus_bits = attribute(cudaDevAttrGlobalMemoryBusWidth, ordinal);
    facts.memory_mhz = attribute(cudaDevAttrMemoryClockRate, ordinal) / 1000;
    facts.sm_mhz_max = attribute(cudaDevAttrClockRate, ordinal) / 1000;
    return facts;
}

__device__ double block_sum(double value) {
    __shared__ double parts[32];
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
    if (threadIdx.x < 32) {
        for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
    }
    __syncthreads();
    return value;  // in thread 0
}

/// sums: |out - reference|^2, |reference|^2, values that are not finite.
template <class T>
__global__ void error_kernel(const T* out, const float* reference, std::size_t elements, double* sums) {
    double difference = 0, norm = 0, bad = 0;
    const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        const auto value = static_cast<float>(out[i]);
        if (!isfinite(value)) {
            bad += 1;
            continue;
        }
        const double right = reference != nullptr ? reference[i] : 0;
        difference += (value - right) * (value - right);
        norm += right * right;
    }
    difference = block_sum(difference);
    norm = block_sum(norm);
    bad = block_sum(bad);
    if (threadIdx.x != 0) return;
    atomicAdd(&sums[0], difference);
    atomicAdd(&sums[1], norm);
    atomicAdd(&sums[2], bad);
}

template <class T>
std::array<double, 3> error_sums(const T* out, const float* reference, std::size_t elements, cudaStream_t stream) {
    const kernels::DeviceBuffer sums(3 * sizeof(double));
    check(cudaMemsetAsync(sums.as(), 0, sums.bytes(), stream), "cudaMemsetAsync");
    error_kernel<<<512, 256, 0, stream>>>(out, reference, elements, sums.as<double>());
    check(cudaGetLastError(), "error_kernel");
    std::array<double, 3> host{};
    check(cudaMemcpyAsync(host.data(), sums.as(), sums.bytes(), cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return host;
}

template <class T>
double error_of(const T* out, const float* reference, std::size_t elements, cudaStream_t stream) {
    const auto [difference, norm, bad] = error_sums(out, reference, elements, stream);
    if (bad > 0 || norm == 0) return std::numeric_limits<double>::infinity();
    return std::sqrt(difference / norm);
}

/// Frees a graph at the end of its life.
struct GraphExec {
    cudaGraphExec_t exec = nullptr;
    ~GraphExec() { cudaGraphExecDestroy(exec); }
};

}  // namespace

Bench::Bench(int ordinal) {
    check(cudaSetDevice(ordinal), "cudaSetDevice");
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
    if (properties.major != 9 || properties.minor != 0) {
        throw kernels::CudaError(std::string(properties.name) + " has compute capability " +
                                 std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                 "; these kernels are for Hopper, 9.0");
    }
    facts_ = read_facts(ordinal);
    refresh_facts();
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    stamps_ = kernels::DeviceBuffer(2 * kMostSms * sizeof(Stamp));
    check(cudaFuncSetAttribute(stamp_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(kStampSharedBytes)),
          "cudaFuncSetAttribute(stamp_kernel)");
    // Fresh inputs for each run: a kernel that is right must be right for any.
    seed_ = std::hash<std::string>{}(facts_.uuid) ^ static_cast<std::uint64_t>(std::time(nullptr));
}

Bench::~Bench() {
    cudaStreamDestroy(stream_);
}

void Bench::refresh_facts() {
    const auto answers =
        ask_nvidia_smi("driver_version,power.limit,power.draw,temperature.gpu,clocks.sm,clocks.mem", facts_.uuid, 6);
    if (!answers[0].empty()) facts_.driver = answers[0];
    facts_.power_limit_w = answers[1];
    facts_.power_w = answers[2];
    facts_.temperature_c = answers[3];
    facts_.sm_mhz_now = answers[4];
}

void Bench::synchronize() const {
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

int Bench::copies(std::size_t bytes, const std::string& cache) const {
    if (cache != "cold") return 1;
    const std::size_t enough = 3 * facts_.l2_bytes / std::max<std::size_t>(bytes, 1) + 1;
    return static_cast<int>(std::clamp<std::size_t>(enough, 2, 4096));
}

void Bench::stamp_clocks(int which) {
    Stamp* to = stamps_.as<Stamp>() + which * kMostSms;
    check(cudaMemsetAsync(to, 0, kMostSms * sizeof(Stamp), stream_), "cudaMemsetAsync");
    stamp_kernel<<<static_cast<unsigned>(facts_.sms), 32, kStampSharedBytes, stream_>>>(to);
    check(cudaGetLastError(), "stamp_kernel");
}

double Bench::clock_between_stamps() const {
    std::vector<Stamp> stamps(2 * kMostSms);
    check(cudaMemcpyAsync(stamps.data(), stamps_.as(), stamps_.bytes(), cudaMemcpyDeviceToHost, stream_),
          "cudaMemcpyAsync");
    synchronize();
    double sum = 0;
    int count = 0;
    for (std::size_t sm = 0; sm < kMostSms; ++sm) {
        const Stamp &first = stamps[sm], &last = stamps[kMostSms + sm];
        if (first.ns == 0 || last.ns <= first.ns) continue;
        sum += static_cast<double>(last.cycles - first.cycles) / static_cast<double>(last.ns - first.ns) * 1e3;
        ++count;
    }
    return count > 0 ? sum / count : 0;
}

double Bench::clock_during(const std::function<void()>& body) {
    stamp_clocks(0);
    body();
    stamp_clocks(1);
    return clock_between_stamps();
}

namespace {

/// Launches `nodes` times under capture.
void capture(GraphExec& graph, cudaStream_t stream, int nodes, const std::function<void(int)>& launch) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t captured = nullptr;
    try {
        for (int i = 0; i < nodes; ++i) launch(i);
    } catch (...) {
        cudaStreamEndCapture(stream, &captured);
        cudaGraphDestroy(captured);
        throw;
    }
    check(cudaStreamEndCapture(stream, &captured), "cudaStreamEndCapture");
    const cudaError_t status = cudaGraphInstantiate(&graph.exec, captured, 0);
    cudaGraphDestroy(captured);
    check(status, "cudaGraphInstantiate");
}

/// Time of each of `rounds` rounds in microseconds, from events between them.
std::vector<double> timed_rounds(cudaStream_t stream, int rounds, const std::function<void()>& round) {
    struct Events {
        std::vector<cudaEvent_t> all;
        explicit Events(std::size_t count) : all(count) {
            for (cudaEvent_t& event : all) check(cudaEventCreate(&event), "cudaEventCreate");
        }
        ~Events() {
            for (cudaEvent_t event : all) cudaEventDestroy(event);
        }
    } events(static_cast<std::size_t>(rounds) + 1);
    check(cudaEventRecord(events.all[0], stream), "cudaEventRecord");
    for (int i = 0; i < rounds; ++i) {
        round();
        check(cudaEventRecord(events.all[static_cast<std::size_t>(i) + 1], stream), "cudaEventRecord");
    }
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    std::vector<double> us;
    for (std::size_t i = 0; i + 1 < events.all.size(); ++i) {
        float ms = 0;
        check(cudaEventElapsedTime(&ms, events.all[i], events.all[i + 1]), "cudaEventElapsedTime");
        us.push_back(ms * 1e3);
    }
    return us;
}

constexpr int kLeastNodes = 8, kMostNodes = 200, kLeastRounds = 5, kMostRounds = 100;

}  // namespace

Timing Bench::rounds_of(int parts, double budget_ms, const std::function<void()>& round) {
    const double round_us = std::max(timed_rounds(stream_, 2, round).back(), 1.0);
    const int rounds = std::clamp(static_cast<int>(budget_ms * 1e3 * 0.6 / round_us), kLeastRounds, kMostRounds);
    Timing timing;
    timing.sm_clock_mhz = clock_during([&] { timing.us = timed_rounds(stream_, rounds, round); });
    for (double& us : timing.us) us /= parts;
    return timing;
}

Timing Bench::graph(int copies, double budget_ms, const std::function<void(int)>& launch) {
    for (int i = 0; i < std::min(copies, 3); ++i) launch(i);  // modules load, limits are raised, errors show
    const double once_us = timed_rounds(stream_, 1, [&] { launch(0); }).front();
    // A graph holds every copy at least once, and is long enough that its own start does not count.
    const auto wish = static_cast<int>(budget_ms * 1e3 / kLeastRounds / 3 / std::max(once_us, 1.0));
    const int nodes = std::max(copies, std::clamp(wish, kLeastNodes, kMostNodes));
    GraphExec graph;
    capture(graph, stream_, nodes, launch);
    const auto replay = [&] { check(cudaGraphLaunch(graph.exec, stream_), "cudaGraphLaunch"); };
    Timing timing = rounds_of(nodes, budget_ms, replay);
    timing.method = "CUDA graph of " + std::to_string(nodes) + " nodes over " + std::to_string(copies) +
                    (copies == 1 ? " copy" : " copies") + " of the operands, time per node";
    return timing;
}

Timing Bench::in_stream(int copies, double budget_ms, const std::function<void(int)>& launch) {
    for (int i = 0; i < std::min(copies, 3); ++i) launch(i);
    const double once_us = std::max(timed_rounds(stream_, 2, [&] { launch(0); }).back(), 1.0);
    const auto wish = static_cast<int>(budget_ms * 1e3 / kLeastRounds / 3 / once_us);
    const int launches = std::max(copies, std::clamp(wish, kLeastNodes, kMostNodes));
    const auto round = [&] {
        for (int i = 0; i < launches; ++i) launch(i);
    };
    Timing timing = rounds_of(launches, budget_ms, round);
    timing.method = std::to_string(launches) + " launches on a stream over " + std::to_string(copies) +
                    (copies == 1 ? " copy" : " copies") + " of the operands, time per launch";
    return timing;
}

Timing Bench::replays(int nodes, double budget_ms, const std::function<void(int)>& launch) {
    constexpr int kReplays = 50;  // between two events, whose own time does not count then
    launch(0);
    GraphExec graph;
    capture(graph, stream_, nodes, launch);
    const auto round = [&] {
        for (int i = 0; i < kReplays; ++i) check(cudaGraphLaunch(graph.exec, stream_), "cudaGraphLaunch");
    };
    Timing timing = rounds_of(kReplays, budget_ms, round);
    timing.method = std::to_string(kReplays) + " replays of a CUDA graph of " + std::to_string(nodes) +
                    (nodes == 1 ? " node" : " nodes") + ", time per replay";
    return timing;
}

double relative_error(const void* out_bf16, const float* reference, std::size_t elements, cudaStream_t stream) {
    return error_of(static_cast<const __nv_bfloat16*>(out_bf16), reference, elements, stream);
}

double relative_error_fp32(const float* out, const float* reference, std::size_t elements, cudaStream_t stream) {
    return error_of(out, reference, elements, stream);
}

bool all_finite(const void* data_bf16, std::size_t elements, cudaStream_t stream) {
    return error_sums(static_cast<const __nv_bfloat16*>(data_bf16), nullptr, elements, stream)[2] == 0;
}

}  // namespace memwall::measure
