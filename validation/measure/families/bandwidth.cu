// Bandwidth. `bytes` is the footprint, arrays of equal size; the rate counts each array once a pass, and what every SM
// reads when all read the same.

#include <cstring>

#include "bench.h"
#include "stream.h"

namespace memwall::measure {

using kernels::DeviceBuffer;
using kernels::StreamArguments;

namespace {

/// Words of `a` that differ from those of `b` where the pattern touches them.
__global__ void differences_kernel(const std::uint32_t* a, const std::uint32_t* b, std::size_t words, int run_bytes,
                                   int stride_bytes, unsigned long long* count) {
    const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += step) {
        const bool touched = stride_bytes == 0 || static_cast<int>(i * 4 % stride_bytes) < run_bytes;
        if (touched && a[i] != b[i]) atomicAdd(count, 1ULL);
    }
}

/// A written array: no word of the poison is left where it should not be.
__global__ void poison_kernel(const std::uint32_t* a, std::size_t words, int run_bytes, int stride_bytes,
                              unsigned long long* count) {
    const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += step) {
        const bool touched = stride_bytes == 0 || static_cast<int>(i * 4 % stride_bytes) < run_bytes;
        if (touched && a[i] == 0xffffffffU) atomicAdd(count, 1ULL);
    }
}

std::uint64_t read_counter(const DeviceBuffer& counter, Bench& bench) {
    unsigned long long host = 0;
    kernels::check(cudaMemcpyAsync(&host, counter.as(), sizeof host, cudaMemcpyDeviceToHost, bench.stream()),
                   "cudaMemcpyAsync");
    bench.synchronize();
    return host;
}

Check check_arrays(const DeviceBuffer* in, const DeviceBuffer& out, int run, int stride, Bench& bench) {
    const DeviceBuffer counter(sizeof(unsigned long long));
    kernels::check(cudaMemsetAsync(counter.as(), 0, counter.bytes(), bench.stream()), "cudaMemsetAsync");
    const std::size_t words = out.bytes() / 4;
    if (in != nullptr) {
        differences_kernel<<<1024, 256, 0, bench.stream()>>>(in->as<std::uint32_t>(), out.as<std::uint32_t>(), words,
                                                             run, stride, counter.as<unsigned long long>());
    } else {
        poison_kernel<<<1024, 256, 0, bench.stream()>>>(out.as<std::uint32_t>(), words, run, stride,
                                                        counter.as<unsigned long long>());
    }
    kernels::check(cudaGetLastError(), "check_arrays");
    Check check{in != nullptr ? "the input, word for word" : "the poison", 0, 0, ""};
    const std::uint64_t wrong = read_counter(counter, bench);
    if (wrong > 0) check.reason = std::to_string(wrong) + " words of the output are wrong";
    return check;
}

struct Copies {
    std::vector<DeviceBuffer> in, out;
};

Outcome in_gbps(const Timing& timing, double bytes, const Check& check) {
    Outcome outcome{timing.us, timing.sm_clock_mhz, check, timing.method, nullptr};
    for (double& sample : outcome.samples) sample = bytes / sample * 1e-3;
    return outcome;
}

DeviceBuffer random_bytes(std::size_t bytes, Bench& bench) {
    DeviceBuffer buffer(bytes);
    kernels::fill_random(buffer.as(), bytes / 2, kernels::Dtype::bf16, bench.seed(), bench.stream());
    return buffer;
}

Outcome run_plain(const Case& c, Bench& bench) {
    const bool reads = c.op != "write", writes = c.op != "read";
    const auto array = static_cast<std::size_t>(c.number("bytes")) / (reads && writes ? 2 : 1);
    const int copies = bench.copies(static_cast<std::size_t>(c.number("bytes")), c.cache);
    Copies arrays;
    for (int i = 0; i < copies; ++i) {
        if (reads) arrays.in.push_back(random_bytes(array, bench));
        if (!writes) continue;
        arrays.out.emplace_back(array);
        kernels::poison(arrays.out.back().as(), array, bench.stream());
    }
    const DeviceBuffer slots(512 * sizeof(std::uint32_t));
    kernels::check(cudaMemsetAsync(slots.as(), 0, slots.bytes(), bench.stream()), "cudaMemsetAsync");
    StreamArguments args;
    args.bytes = static_cast<std::int64_t>(array);
    args.passes = static_cast<int>(c.params.value("passes", 1));
    args.threads = static_cast<int>(c.number("threads_per_cta"));
    args.ctas_per_sm = static_cast<int>(c.number("ctas_per_sm"));
    args.in_flight = static_cast<int>(c.number("in_flight"));
    args.sms = static_cast<int>(c.params.value("sms", 0));
    args.shared = c.params.value("shared", false);
    args.pattern_bytes = static_cast<int>(c.params.value("pattern_bytes", 0));
    args.pattern_stride = static_cast<int>(c.params.value("pattern_stride", 0));
    args.slots = slots.as<std::uint32_t>();
    const auto launch = [&](int i) {
        const auto copy = static_cast<std::size_t>(i % copies);
        args.in = reads ? arrays.in[copy].as() : nullptr;
        args.out = writes ? arrays.out[copy].as() : nullptr;
        kernels::stream(args, bench.stream());
    };
    launch(0);
    Check check;
    if (writes) {
        check = check_arrays(reads ? &arrays.in[0] : nullptr, arrays.out[0], args.pattern_bytes, args.pattern_stride,
                             bench);
    }
    double bytes = static_cast<double>(array) * (reads && writes ? 2 : 1) * args.passes;
    if (args.pattern_stride > 0) bytes *= static_cast<double>(args.pattern_bytes) / args.pattern_stride;
    if (args.shared) bytes *= args.sms > 0 ? args.sms : bench.sms();
    if (args.shared) bytes *= args.ctas_per_sm;
    return in_gbps(bench.graph(copies, c.gpu_ms * 0.5, launch), bytes, check);
}

Outcome run_tma_read(const Case& c, Bench& bench) {
    kernels::TmaReadArguments args{};
    args.bytes = c.number("bytes");
    args.box_bytes = static_cast<int>(c.number("box_bytes"));
    args.ctas = static_cast<int>(c.number("ctas"));
    args.in_flight = static_cast<int>(c.number("in_flight"));
    args.rank = static_cast<int>(c.number("rank"));
    args.passes = static_cast<int>(c.params.value("passes", 1));
    const int copies = bench.copies(static_cast<std::size_t>(args.bytes), c.cache);
    std::vector<DeviceBuffer> in;
    for (int i = 0; i < copies; ++i) in.push_back(random_bytes(static_cast<std::size_t>(args.bytes), bench));
    const Timing timing = bench.graph(copies, c.gpu_ms * 0.5, [&](int i) {
        args.in = in[static_cast<std::size_t>(i % copies)].as();
        kernels::tma_read(args, bench.stream());
    });
    return in_gbps(timing, static_cast<double>(args.bytes) * args.passes, {});
}

Outcome run_tma_copy(const Case& c, Bench& bench) {
    const std::int64_t array = c.number("bytes") / 2;
    const DeviceBuffer in = random_bytes(static_cast<std::size_t>(array), bench), out(static_cast<std::size_t>(array));
    kernels::poison(out.as(), out.bytes(), bench.stream());
    const auto launch = [&](int) {
        kernels::tma_copy(in.as(), out.as(), array, static_cast<int>(c.number("box_bytes")),
                          static_cast<int>(c.number("ctas")), bench.stream());
    };
    launch(0);
    const Check check = check_arrays(&in, out, 0, 0, bench);
    return in_gbps(bench.graph(1, c.gpu_ms * 0.5, launch), 2.0 * static_cast<double>(array), check);
}

}  // namespace

Outcome measure_bandwidth(const Case& c, Bench& bench) {
    if (c.op == "tma_read") return run_tma_read(c, bench);
    if (c.params.contains("path")) return run_tma_copy(c, bench);
    return run_plain(c, bench);
}

}  // namespace memwall::measure
