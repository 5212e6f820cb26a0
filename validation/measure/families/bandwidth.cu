// Bandwidth. `bytes` is the footprint, arrays of equal size; the rate counts each array once a pass, and what every CTA
// reads when all read the same. Reads are checked by a sum over what they saw, writes and copies word for word.

#include <algorithm>

#include "bench.h"
#include "stream.h"
#include "stream_layout.h"

namespace memwall::measure {

using kernels::DeviceBuffer;
using kernels::StreamArguments;

namespace {

/// Which bytes of an array are touched: of every `stride` the first `run`; stride 0: all.
struct Touched {
    std::uint32_t run, stride;
    [[nodiscard]] __device__ bool has(std::uint64_t byte) const { return stride == 0 || byte % stride < run; }
    /// The number of the piece at `byte`, a touched one.
    [[nodiscard]] __device__ std::uint32_t piece(std::uint64_t byte) const {
        const std::uint64_t before = stride == 0 ? byte : byte / stride * run + byte % stride;
        return static_cast<std::uint32_t>(before / kernels::kPieceBytes);
    }
};

/// Counts the words of `out` that are not what they should be: the word of `in` where there is one, else what a write
/// puts there; where nothing is touched, the poison.
__global__ void wrong_words_kernel(const std::uint32_t* in, const std::uint32_t* out, std::uint64_t words,
                                   Touched touched, unsigned long long* count) {
    const std::uint64_t step = static_cast<std::uint64_t>(gridDim.x) * blockDim.x;
    for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += step) {
        std::uint32_t right = 0xffffffffU;
        if (touched.has(i * 4)) {
            right = in != nullptr ? in[i] : kernels::written_word(touched.piece(i * 4), static_cast<int>(i % 4));
        }
        if (out[i] != right) atomicAdd(count, 1ULL);
    }
}

/// The sum of the xors of the four words of every piece touched: what a read must have seen once a pass.
__global__ void checksum_kernel(const std::uint32_t* in, std::uint64_t pieces, Touched touched,
                                unsigned long long* sum) {
    const std::uint64_t step = static_cast<std::uint64_t>(gridDim.x) * blockDim.x;
    unsigned long long mine = 0;
    for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < pieces; i += step) {
        if (!touched.has(i * kernels::kPieceBytes)) continue;
        std::uint32_t all = 0;
        for (int word = 0; word < 4; ++word) all ^= in[i * 4 + word];
        mine += all;
    }
    atomicAdd(sum, mine);
}

/// One counter on the device, zero at first.
class Counter {
public:
    explicit Counter(Bench& bench) : bench_(bench), word_(sizeof(unsigned long long)) {
        kernels::check(cudaMemsetAsync(word_.as(), 0, word_.bytes(), bench.stream()), "cudaMemsetAsync");
    }
    template <class T = unsigned long long>
    [[nodiscard]] T* at() const {
        return word_.as<T>();
    }
    [[nodiscard]] std::uint64_t read() const {
        unsigned long long host = 0;
        kernels::check(cudaMemcpyAsync(&host, word_.as(), sizeof host, cudaMemcpyDeviceToHost, bench_.stream()),
                       "cudaMemcpyAsync");
        bench_.synchronize();
        return host;
    }

private:
    Bench& bench_;
    DeviceBuffer word_;
};

Check check_written(const void* in, const DeviceBuffer& out, Touched touched, Bench& bench) {
    const Counter count(bench);
    wrong_words_kernel<<<1024, 256, 0, bench.stream()>>>(static_cast<const std::uint32_t*>(in), out.as<std::uint32_t>(),
                                                         out.bytes() / 4, touched, count.at());
    kernels::check(cudaGetLastError(), "wrong_words_kernel");
    Check check{in != nullptr ? "the input, word for word" : "what was to be written, word for word", 0, 0, ""};
    if (const std::uint64_t wrong = count.read(); wrong > 0) {
        check.reason = std::to_string(wrong) + " words of the output are wrong";
    }
    return check;
}

/// `seen` is what the kernel summed over `times` readings of `bytes` at `in`.
Check check_read(const void* in, std::size_t bytes, Touched touched, std::uint64_t times, std::uint64_t seen,
                 Bench& bench) {
    const Counter sum(bench);
    checksum_kernel<<<1024, 256, 0, bench.stream()>>>(static_cast<const std::uint32_t*>(in),
                                                      bytes / kernels::kPieceBytes, touched, sum.at());
    kernels::check(cudaGetLastError(), "checksum_kernel");
    Check check{"a sum over the input by a plain kernel", 0, 0, ""};
    const auto right = static_cast<std::uint32_t>(sum.read() * times);
    if (right != static_cast<std::uint32_t>(seen)) {
        check.reason = "the sum over what was read is " + std::to_string(static_cast<std::uint32_t>(seen)) + ", not " +
                       std::to_string(right);
    }
    return check;
}

/// Arrays of `bytes` that take turns, side by side in one buffer, with random contents.
class Arrays {
public:
    Arrays(std::size_t bytes, int count, Bench& bench)
        : bytes_(bytes), count_(count), all_(bytes * static_cast<std::size_t>(count)) {
        kernels::fill_random(all_.as(), all_.bytes() / 2, kernels::Dtype::bf16, bench.seed(), bench.stream());
    }
    [[nodiscard]] const char* at(int i) const {
        return all_.as<char>() + bytes_ * static_cast<std::size_t>(i % count_);
    }

private:
    std::size_t bytes_;
    int count_;
    DeviceBuffer all_;
};

Outcome in_gbps(const Timing& timing, double bytes, const Check& check) {
    Outcome outcome{timing.us, timing.sm_clock_mhz, check, timing.method, nullptr};
    for (double& sample : outcome.samples) sample = bytes / sample * 1e-3;
    return outcome;
}

/// Times a read of `bytes`. In a graph when its arrays fit one; a small array from memory would need many nodes, each
/// slow, so that such launches follow each other on the stream and go on through the arrays from round to round.
struct ReadTiming {
    std::size_t bytes;
    bool in_stream;
    int count;

    ReadTiming(const Case& c, Bench& bench)
        : bytes(static_cast<std::size_t>(c.number("bytes"))),
          in_stream(c.cache == "cold" && bytes < std::size_t{64} << 20),
          count(bench.copies(bytes, c.cache)) {}

    Timing run(const Case& c, Bench& bench, const std::function<void(int)>& read) const {
        const double budget_ms = c.gpu_ms * 0.5;
        if (!in_stream) return bench.graph(count, budget_ms, read);
        int turn = 0;
        Timing timing = bench.in_stream(1, budget_ms, [&](int) { read(turn++ % count); });
        timing.method =
            "launches on a stream, each from the next of " + std::to_string(count) + " arrays, time per launch";
        return timing;
    }
};

StreamArguments arguments_of(const Case& c, const DeviceBuffer& slots) {
    StreamArguments args;
    args.bytes = c.number("bytes") / (c.op == "copy" ? 2 : 1);
    args.passes = static_cast<int>(c.params.value("passes", 1));
    args.threads = static_cast<int>(c.params.value("threads_per_cta", 512));
    args.ctas_per_sm = static_cast<int>(c.params.value("ctas_per_sm", 2048 / args.threads));
    args.in_flight = static_cast<int>(c.params.value("in_flight", c.op == "copy" ? 2 : 4));
    args.sms = static_cast<int>(c.params.value("sms", 0));
    args.shared = c.params.value("shared", false);
    args.pattern_bytes = static_cast<int>(c.params.value("pattern_bytes", 0));
    args.pattern_stride = static_cast<int>(c.params.value("pattern_stride", 0));
    args.scattered = c.params.value("order", "linear") == std::string("random");
    args.slots = slots.as<std::uint32_t>();
    return args;
}

/// A zeroed word for each SM; ids of SMs stay below 512.
DeviceBuffer zeroed_slots(Bench& bench) {
    DeviceBuffer slots(512 * sizeof(std::uint32_t));
    kernels::check(cudaMemsetAsync(slots.as(), 0, slots.bytes(), bench.stream()), "cudaMemsetAsync");
    return slots;
}

Touched touched_by(const StreamArguments& args) {
    return {static_cast<std::uint32_t>(args.pattern_bytes), static_cast<std::uint32_t>(args.pattern_stride)};
}

/// Bytes of one array that a launch moves.
double moved_bytes(const StreamArguments& args, const Bench& bench) {
    double bytes = static_cast<double>(args.bytes) * args.passes;
    if (args.pattern_stride > 0) bytes *= static_cast<double>(args.pattern_bytes) / args.pattern_stride;
    const int sms = args.sms > 0 ? std::min(args.sms, bench.sms()) : bench.sms();
    return args.shared ? bytes * sms * args.ctas_per_sm : bytes;
}

Outcome run_read(const Case& c, Bench& bench) {
    const DeviceBuffer slots = zeroed_slots(bench);
    StreamArguments args = arguments_of(c, slots);
    const ReadTiming timing(c, bench);
    const Arrays in(timing.bytes, timing.count, bench);
    const Counter seen(bench);
    args.in = in.at(0);
    args.checksum = seen.at<std::uint32_t>();
    kernels::stream(args, bench.stream());
    args.checksum = nullptr;
    const double bytes = moved_bytes(args, bench);
    const int readers =
        args.shared ? (args.sms > 0 ? std::min(args.sms, bench.sms()) : bench.sms()) * args.ctas_per_sm : 1;
    const Check check =
        check_read(in.at(0), timing.bytes, touched_by(args),
                   static_cast<std::uint64_t>(args.passes) * static_cast<std::uint64_t>(readers), seen.read(), bench);
    const Timing time = timing.run(c, bench, [&](int i) {
        args.in = in.at(i);
        kernels::stream(args, bench.stream());
    });
    return in_gbps(time, bytes, check);
}

/// Writes and copies.
Outcome run_write(const Case& c, Bench& bench) {
    const bool copy = c.op == "copy";
    const DeviceBuffer slots = zeroed_slots(bench);
    StreamArguments args = arguments_of(c, slots);
    const auto array = static_cast<std::size_t>(args.bytes);
    const int count = bench.copies(static_cast<std::size_t>(c.number("bytes")), c.cache);
    std::vector<Arrays> in;
    if (copy) in.emplace_back(array, count, bench);
    std::vector<DeviceBuffer> out;
    for (int i = 0; i < count; ++i) {
        out.emplace_back(array);
        kernels::poison(out.back().as(), array, bench.stream());
    }
    const auto launch = [&](int i) {
        args.in = copy ? in.front().at(i) : nullptr;
        args.out = out[static_cast<std::size_t>(i % count)].as();
        kernels::stream(args, bench.stream());
    };
    launch(0);
    const Check check = check_written(copy ? in.front().at(0) : nullptr, out.front(), touched_by(args), bench);
    return in_gbps(bench.graph(count, c.gpu_ms * 0.5, launch), moved_bytes(args, bench) * (copy ? 2 : 1), check);
}

kernels::L2Policy policy_of(const Case& c) {
    const std::string word = c.params.value("policy", "normal");
    if (word == "normal") return kernels::L2Policy::normal;
    return word == "evict_last" ? kernels::L2Policy::evict_last : kernels::L2Policy::evict_first;
}

Outcome run_tma_read(const Case& c, Bench& bench) {
    kernels::TmaReadArguments args{};
    args.bytes = c.number("bytes");
    args.box_bytes = static_cast<int>(c.number("box_bytes"));
    args.ctas = static_cast<int>(c.number("ctas"));
    args.in_flight = static_cast<int>(c.number("in_flight"));
    args.rank = static_cast<int>(c.number("rank"));
    args.passes = static_cast<int>(c.params.value("passes", 1));
    args.policy = policy_of(c);
    const ReadTiming timing(c, bench);
    const Arrays in(timing.bytes, timing.count, bench);
    // One thread sums up what landed: 4 MiB are enough.
    const Counter seen(bench);
    kernels::TmaReadArguments checked = args;
    checked.bytes = std::min<std::int64_t>(args.bytes, 4 << 20);
    checked.passes = 1;
    checked.in = in.at(0);
    checked.checksum = seen.at<std::uint32_t>();
    kernels::tma_read(checked, bench.stream());
    const Check check = check_read(in.at(0), static_cast<std::size_t>(checked.bytes), {0, 0}, 1, seen.read(), bench);
    const Timing time = timing.run(c, bench, [&](int i) {
        args.in = in.at(i);
        kernels::tma_read(args, bench.stream());
    });
    return in_gbps(time, static_cast<double>(args.bytes) * args.passes, check);
}

Outcome run_tma_copy(const Case& c, Bench& bench) {
    const std::int64_t array = c.number("bytes") / 2;
    const Arrays in(static_cast<std::size_t>(array), 1, bench);
    const DeviceBuffer out(static_cast<std::size_t>(array));
    kernels::poison(out.as(), out.bytes(), bench.stream());
    const auto launch = [&](int) {
        kernels::tma_copy(in.at(0), out.as(), array, static_cast<int>(c.number("box_bytes")),
                          static_cast<int>(c.number("ctas")), bench.stream());
    };
    launch(0);
    const Check check = check_written(in.at(0), out, {0, 0}, bench);
    return in_gbps(bench.graph(1, c.gpu_ms * 0.5, launch), 2.0 * static_cast<double>(array), check);
}

}  // namespace

Outcome measure_bandwidth(const Case& c, Bench& bench) {
    if (c.op == "tma_read") return run_tma_read(c, bench);
    if (c.params.contains("path")) return run_tma_copy(c, bench);
    return c.op == "read" ? run_read(c, bench) : run_write(c, bench);
}

}  // namespace memwall::measure
