// The engines of an SM: cycles by the SM's own clock.

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>

#include "bench.h"
#include "engines.h"

namespace memwall::measure {

using kernels::DeviceBuffer;
using kernels::Dtype;
using kernels::EngineResult;

namespace {

constexpr int kSamples = 7;

template <class T>
__global__ void product_reference(const T* a, const T* b, float* d, int n, int k, bool transposed) {
    const int col = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), row = static_cast<int>(blockIdx.y);
    if (col >= n) return;
    float sum = 0;
    for (int i = 0; i < k; ++i) {
        sum += static_cast<float>(a[row * k + i]) * static_cast<float>(transposed ? b[i * n + col] : b[col * k + i]);
    }
    d[row * n + col] = sum;
}

DeviceBuffer random_values(std::size_t elements, Dtype dtype, Bench& bench) {
    DeviceBuffer buffer(elements * kernels::bytes_of(dtype));
    kernels::fill_random(buffer.as(), elements, dtype, bench.seed(), bench.stream());
    return buffer;
}

Dtype dtype_of(const Case& c) {
    const std::string name = c.text("dtype");
    return name == "fp8" ? Dtype::fp8 : name == "tf32" ? Dtype::fp32 : Dtype::bf16;
}

/// The product of one k step against plain sums: the sample is the error itself.
Outcome run_product(const Case& c, Bench& bench) {
    const Dtype dtype = dtype_of(c);
    const int n = static_cast<int>(c.number("n")), k = static_cast<int>(128 / kernels::bytes_of(dtype));
    const std::string name = c.text("way");
    const bool transposed = name == "transposed";
    const auto way = transposed            ? kernels::ProductWay::transposed
                     : name == "registers" ? kernels::ProductWay::registers
                                           : kernels::ProductWay::shared;
    const auto outputs = static_cast<std::size_t>(64 * n);
    const DeviceBuffer a = random_values(static_cast<std::size_t>(64 * k), dtype, bench),
                       b = random_values(static_cast<std::size_t>(n * k), dtype, bench);
    const DeviceBuffer d(outputs * sizeof(float)), reference(outputs * sizeof(float));
    kernels::poison(d.as(), d.bytes(), bench.stream());
    kernels::wgmma_product(dtype, n, way, a.as(), b.as(), d.as<float>(), bench.stream());
    const dim3 grid(static_cast<unsigned>((n + 63) / 64), 64);
    if (dtype == Dtype::bf16) {
        product_reference<<<grid, 64, 0, bench.stream()>>>(a.as<__nv_bfloat16>(), b.as<__nv_bfloat16>(),
                                                           reference.as<float>(), n, k, transposed);
    } else if (dtype == Dtype::fp32) {
        product_reference<<<grid, 64, 0, bench.stream()>>>(a.as<float>(), b.as<float>(), reference.as<float>(), n, k,
                                                           false);
    } else {
        product_reference<<<grid, 64, 0, bench.stream()>>>(a.as<__nv_fp8_e4m3>(), b.as<__nv_fp8_e4m3>(),
                                                           reference.as<float>(), n, k, false);
    }
    kernels::check(cudaGetLastError(), "product_reference");
    Outcome outcome;
    const double error = relative_error_fp32(d.as<float>(), reference.as<float>(), outputs, bench.stream());
    // bf16 products are exact and their sums nearly; tf32 cuts operands to 10 bits of mantissa, and of sums of fp8
    // the tensor core keeps fewer bits.
    const double tolerance = dtype == Dtype::bf16 ? 1e-4 : dtype == Dtype::fp32 ? 2e-3 : 5e-3;
    outcome.check = {"fp32 sums by a plain kernel", error, tolerance, ""};
    outcome.samples = {std::isfinite(error) ? error : 0};
    outcome.method = "one k step of 128 bytes";
    return outcome;
}

std::vector<EngineResult> results_of(const DeviceBuffer& from, std::size_t count, Bench& bench) {
    std::vector<EngineResult> host(count);
    kernels::check(
        cudaMemcpyAsync(host.data(), from.as(), count * sizeof(EngineResult), cudaMemcpyDeviceToHost, bench.stream()),
        "cudaMemcpyAsync");
    bench.synchronize();
    return host;
}

Outcome run_wgmma(const Case& c, Bench& bench) {
    const Dtype dtype = dtype_of(c);
    const std::string shape = c.text("shape");  // m64nNkK
    const int n = std::stoi(shape.substr(4)), warpgroups = static_cast<int>(c.params.value("warpgroups", 1));
    const int times = (1 << 20) / n / 8 * 8;  // about 500,000 cycles when nothing but the products counts
    const auto a = c.text("operand_a") == "reg" ? kernels::OperandA::registers : kernels::OperandA::shared;
    const DeviceBuffer operands = random_values((48 << 10) / kernels::bytes_of(dtype), dtype, bench);
    const auto sms = static_cast<std::size_t>(bench.sms());
    const DeviceBuffer results(sms * sizeof(EngineResult));
    Outcome outcome;
    double cycles = 0;
    for (int sample = -1; sample < kSamples; ++sample) {
        kernels::wgmma_rate(dtype, n, a, warpgroups, times, operands.as(), results.as<EngineResult>(), bench.stream());
        const auto all = results_of(results, sms, bench);
        if (sample < 0) continue;
        double longest_ns = 0, sum_cycles = 0, sum_ns = 0;
        for (const EngineResult& r : all) {
            longest_ns = std::max(longest_ns, static_cast<double>(r.ns));
            sum_cycles += static_cast<double>(r.cycles);
            sum_ns += static_cast<double>(r.ns);
        }
        const double k = 32.0 / static_cast<double>(kernels::bytes_of(dtype));
        const double flops = 2.0 * 64 * n * k * times * warpgroups * static_cast<double>(sms);
        outcome.samples.push_back(flops / longest_ns * 1e-3);
        outcome.sm_clock_mhz = sum_cycles / sum_ns * 1e3;
        cycles = sum_cycles / static_cast<double>(sms) / times;
    }
    outcome.method = std::to_string(times) + " products in groups of eight, random operands, the slowest SM's time";
    outcome.details = {{"cycles_per_instruction", cycles}};
    return outcome;
}

/// Runs a kernel that fills one EngineResult; each sample is `value` of its cycles. `against`: what the kernel itself
/// compares its values with, empty when it has none.
Outcome run_cycles(Bench& bench, const std::string& method, const std::string& against,
                   const std::function<void(EngineResult*)>& launch, const std::function<double(double)>& value) {
    const DeviceBuffer results(sizeof(EngineResult));
    Outcome outcome;
    std::uint64_t wrong = 0;
    for (int sample = -1; sample < kSamples; ++sample) {
        kernels::check(cudaMemsetAsync(results.as(), 0, results.bytes(), bench.stream()), "cudaMemsetAsync");
        launch(results.as<EngineResult>());
        const EngineResult r = results_of(results, 1, bench).front();
        wrong += r.wrong;
        if (r.cycles == 0) throw std::runtime_error("the kernel reported no time");
        if (sample < 0) continue;
        outcome.samples.push_back(value(static_cast<double>(r.cycles)));
        outcome.sm_clock_mhz = r.ns > 0 ? static_cast<double>(r.cycles) / static_cast<double>(r.ns) * 1e3 : 0;
    }
    outcome.method = method;
    outcome.check.against = against;
    if (wrong > 0) outcome.check.reason = std::to_string(wrong) + " values differ from " + against;
    return outcome;
}

std::function<double(double)> cycles_per(int times) {
    return [times](double cycles) { return cycles / times; };
}

Outcome run_tma_issue(const Case& c, Bench& bench) {
    constexpr int kTimes = 4096;
    const auto box = static_cast<int>(c.number("box_bytes")), rank = static_cast<int>(c.number("rank"));
    const DeviceBuffer from = random_values(64ULL * static_cast<std::size_t>(box), Dtype::fp8, bench);
    return run_cycles(
        bench, "cycles per bulk load of one thread, up to 128 boxes or 200 KiB under way, 64 boxes resident in L2",
        "the boxes' source",
        [&](EngineResult* r) { kernels::tma_issue(from.as(), box, rank, kTimes, r, bench.stream()); },
        cycles_per(kTimes));
}

Outcome run_tma_store(const Case& c, Bench& bench) {
    constexpr int kTimes = 4096;
    const auto box = static_cast<int>(c.number("box_bytes")), under_way = static_cast<int>(c.number("in_flight"));
    const DeviceBuffer to(64ULL * static_cast<std::size_t>(box));
    kernels::poison(to.as(), to.bytes(), bench.stream());
    return run_cycles(
        bench,
        under_way == 1 ? "cycles from order to completion, one at a time, 64 places in L2"
                       : "cycles per bulk store, 8 under way, 64 places in L2",
        "what was stored",
        [&](EngineResult* r) { kernels::tma_store_rate(to.as(), box, under_way, kTimes, r, bench.stream()); },
        cycles_per(kTimes));
}

Outcome run_tma_single(const Case& c, Bench& bench) {
    constexpr int kTimes = 512;
    const auto box = static_cast<int>(c.number("box_bytes"));
    const bool l2 = c.text("from") == "l2";
    // From memory: each load 64 KiB after the one before, and another stretch for every launch; behind the last lies
    // more than L2 keeps of what was written.
    const std::int64_t stride = l2 ? box : 64 << 10, span = stride * kTimes;
    const auto bytes =
        static_cast<std::size_t>(l2 ? span : span * (kSamples + 1)) + (l2 ? 0 : 4 * bench.facts().l2_bytes);
    const DeviceBuffer from = random_values(bytes, Dtype::fp8, bench);
    int turn = 0;
    return run_cycles(
        bench, l2 ? "order to arrival, one at a time, resident in L2" : "order to arrival, one at a time, from memory",
        "the last box's source",
        [&](EngineResult* r) {
            const char* at = from.as<char>() + (l2 ? 0 : span * turn++);
            kernels::tma_single(at, stride, box, kTimes, r, bench.stream());
        },
        cycles_per(kTimes));
}

Outcome run_memory(const Case& c, Bench& bench) {
    constexpr int kTimes = 2048;
    constexpr double kBytes = 1024.0 * 16 * kTimes;
    const auto rate = [](double cycles) { return kBytes / cycles; };
    if (c.op == "smem_read" || c.op == "smem_write") {
        return run_cycles(
            bench, "16-byte accesses of 1,024 threads of one SM", "what was written there",
            [&](EngineResult* r) {
                kernels::shared_rate(c.op == "smem_write", static_cast<int>(c.number("conflict")), kTimes, r,
                                     bench.stream());
            },
            rate);
    }
    return run_cycles(
        bench, "16-byte accesses of 1,024 threads to the next CTA of the cluster, all at once",
        "what was written there",
        [&](EngineResult* r) {
            kernels::peer_rate(c.op == "dsmem_write", static_cast<int>(c.number("cluster_size")), kTimes, r,
                               bench.stream());
        },
        rate);
}

Outcome run_multicast(const Case& c, Bench& bench) {
    constexpr int kTimes = 1024;
    const auto box = static_cast<int>(c.number("box_bytes"));
    const DeviceBuffer from = random_values(16ULL * static_cast<std::size_t>(box), Dtype::fp8, bench);
    return run_cycles(
        bench, "bytes landed in each SM of one cluster, each CTA loading its part for all", "the boxes' source",
        [&](EngineResult* r) {
            kernels::multicast_rate(from.as(), static_cast<int>(c.number("cluster_size")), box, kTimes, r,
                                    bench.stream());
        },
        [&](double cycles) { return static_cast<double>(box) * kTimes / cycles; });
}

Outcome run_barrier(const Case& c, Bench& bench) {
    constexpr int kTimes = 4096;
    const std::string name = c.text("part");
    const auto part = name == "arrive"     ? kernels::BarrierPart::arrive
                      : name == "try_wait" ? kernels::BarrierPart::try_wait
                                           : kernels::BarrierPart::handover;
    return run_cycles(
        bench, name == "handover" ? "cycles there and back, between two warps" : "cycles of one, by one thread", "",
        [&](EngineResult* r) { kernels::barrier_cost(part, kTimes, r, bench.stream()); }, cycles_per(kTimes));
}

}  // namespace

Outcome measure_engine(const Case& c, Bench& bench) {
    if (c.op == "wgmma_product") return run_product(c, bench);
    if (c.op == "wgmma") return run_wgmma(c, bench);
    if (c.op == "tma_issue") return run_tma_issue(c, bench);
    if (c.op == "tma_store") return run_tma_store(c, bench);
    if (c.op == "tma_single") return run_tma_single(c, bench);
    if (c.op == "multicast") return run_multicast(c, bench);
    if (c.op == "mbarrier") return run_barrier(c, bench);
    if (c.op == "sfu") {
        constexpr int kTimes = 4096;
        return run_cycles(
            bench, "ex2 by 1,024 threads of one SM", "the fixed point of 2^-x",
            [&](EngineResult* r) { kernels::exp2_rate(kTimes, r, bench.stream()); },
            [](double cycles) { return 1024.0 * kTimes / cycles; });
    }
    return run_memory(c, bench);
}

}  // namespace memwall::measure
