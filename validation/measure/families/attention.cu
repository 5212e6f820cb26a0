// Attention, against a plain kernel in fp32: a warp for each row of queries, two passes over the keys.

#include <cuda_bf16.h>

#include <algorithm>
#include <numeric>

#include "attention.h"
#include "attention_tiles.h"
#include "bench.h"
#include "permutation.h"

namespace memwall::measure {

using kernels::DecodeProblem;
using kernels::DeviceBuffer;
using kernels::Dtype;
using kernels::PrefillProblem;

namespace {

/// P is rounded to bf16 before it meets V, and so is the output.
constexpr double kTolerance = 1e-2;

/// How a cache or a packed row is addressed: element of key `key` of a KV head.
struct KeyPlace {
    std::int64_t batch_stride, head_stride, key_stride;
    const int* pages;  ///< null: contiguous
    int page, pages_per_sequence;

    [[nodiscard]] __device__ std::int64_t at(int batch, int head, int key) const {
        if (pages == nullptr) return batch * batch_stride + head * head_stride + key * key_stride;
        const int slot = pages[batch * pages_per_sequence + key / page];
        return slot * batch_stride + head * head_stride + key % page * key_stride;
    }
};

/// One warp a row. q and o rows: [batch][q_tokens][heads][dim]; `rows`: which tokens of each sequence are checked.
__global__ void attention_reference(const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v,
                                    const int* rows, int row_count, int batch, int heads, int kv_heads, int q_tokens,
                                    int kv_tokens, int dim, bool causal, KeyPlace place, float* out) {
    const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32), lane = threadIdx.x % 32;
    if (warp >= batch * row_count * heads) return;
    const int head = warp % heads, row = warp / heads % row_count, sequence = warp / heads / row_count;
    const int token = rows[row], kv_head = head / (heads / kv_heads);
    const float scale = rsqrtf(static_cast<float>(dim));
    const __nv_bfloat16* query = q + ((static_cast<std::int64_t>(sequence) * q_tokens + token) * heads + head) * dim;
    float most = -INFINITY, sum = 0, acc[8] = {};  // dim up to 256: 8 values a lane
    const auto score_of = [&](int key) {
        const __nv_bfloat16* at = k + place.at(sequence, kv_head, key);
        float dot = 0;
        for (int i = lane; i < dim; i += 32) dot += __bfloat162float(query[i]) * __bfloat162float(at[i]);
        for (int step = 16; step > 0; step /= 2) dot += __shfl_xor_sync(0xffffffff, dot, step);
        return dot * scale;
    };
    const int seen = causal ? min(kv_tokens, token + kv_tokens - q_tokens + 1) : kv_tokens;
    for (int key = 0; key < seen; ++key) most = fmaxf(most, score_of(key));
    for (int key = 0; key < seen; ++key) {
        const float weight = expf(score_of(key) - most);
        sum += weight;
        const __nv_bfloat16* at = v + place.at(sequence, kv_head, key);
        for (int i = 0; i < dim / 32; ++i) acc[i] += weight * __bfloat162float(at[lane + i * 32]);
    }
    for (int i = 0; i < dim / 32; ++i) {
        out[static_cast<std::int64_t>(warp) * dim + lane + i * 32] = acc[i] / sum;
    }
}

/// The checked rows of the output, in the reference's order.
__global__ void gather_rows(const __nv_bfloat16* o, const int* rows, int row_count, int heads, int q_tokens, int dim,
                            __nv_bfloat16* out) {
    const int head = static_cast<int>(blockIdx.x) % heads, row = static_cast<int>(blockIdx.x) / heads % row_count;
    const int sequence = static_cast<int>(blockIdx.x) / heads / row_count;
    const std::int64_t from = ((static_cast<std::int64_t>(sequence) * q_tokens + rows[row]) * heads + head) * dim;
    for (int i = static_cast<int>(threadIdx.x); i < dim; i += static_cast<int>(blockDim.x)) {
        out[static_cast<std::int64_t>(blockIdx.x) * dim + i] = o[from + i];
    }
}

struct Shape {
    int batch, heads, kv_heads, q_tokens, kv_tokens, dim;
    bool causal;
};

Check check_rows(const Shape& s, const void* q, const void* k, const void* v, const void* o, const KeyPlace& place,
                 const std::vector<int>& rows, Bench& bench) {
    Check check{"fp32 sums by a plain kernel, sampled rows of every head", 0, kTolerance, ""};
    const auto all = static_cast<std::size_t>(s.batch) * s.q_tokens * s.heads * s.dim;
    if (!all_finite(o, all, bench.stream())) {
        check.reason = "some of the output was not written, or is not finite";
        return check;
    }
    const DeviceBuffer on_device(rows.size() * sizeof(int));
    kernels::check(
        cudaMemcpyAsync(on_device.as(), rows.data(), on_device.bytes(), cudaMemcpyHostToDevice, bench.stream()),
        "cudaMemcpyAsync");
    const auto count = static_cast<int>(rows.size());
    const std::size_t elements = static_cast<std::size_t>(s.batch) * rows.size() * s.heads * s.dim;
    const DeviceBuffer reference(elements * sizeof(float)), gathered(elements * 2);
    const auto warps = static_cast<unsigned>(s.batch * count * s.heads);
    attention_reference<<<(warps + 7) / 8, 256, 0, bench.stream()>>>(
        static_cast<const __nv_bfloat16*>(q), static_cast<const __nv_bfloat16*>(k),
        static_cast<const __nv_bfloat16*>(v), on_device.as<int>(), count, s.batch, s.heads, s.kv_heads, s.q_tokens,
        s.kv_tokens, s.dim, s.causal, place, reference.as<float>());
    kernels::check(cudaGetLastError(), "attention_reference");
    gather_rows<<<warps, 64, 0, bench.stream()>>>(static_cast<const __nv_bfloat16*>(o), on_device.as<int>(), count,
                                                  s.heads, s.q_tokens, s.dim, gathered.as<__nv_bfloat16>());
    kernels::check(cudaGetLastError(), "gather_rows");
    check.error = relative_error(gathered.as(), reference.as<float>(), elements, bench.stream());
    return check;
}

DeviceBuffer random_bf16(std::size_t elements, Bench& bench) {
    DeviceBuffer buffer(elements * 2);
    kernels::fill_random(buffer.as(), elements, Dtype::bf16, bench.seed(), bench.stream());
    return buffer;
}

DeviceBuffer poisoned(std::size_t elements, Bench& bench) {
    DeviceBuffer buffer(elements * 2);
    kernels::poison(buffer.as(), buffer.bytes(), bench.stream());
    return buffer;
}

Shape shape_of(const Case& c, bool prefill) {
    return {static_cast<int>(c.number("batch")),
            static_cast<int>(c.number("heads")),
            static_cast<int>(c.number("kv_heads")),
            prefill ? static_cast<int>(c.number("q")) : 1,
            static_cast<int>(c.number("kv")),
            static_cast<int>(c.number("head_dim")),
            prefill && c.params.at("causal").get<bool>()};
}

Outcome timed(const Case& c, Bench& bench, int copies, const Check& check, int ctas,
              const std::function<void(int)>& launch) {
    const Timing timing = bench.graph(copies, c.gpu_ms * 0.5, launch);
    return {timing.us, timing.sm_clock_mhz, check, timing.method, {{"ctas", ctas}}};
}

/// Pages dealt to sequences in a random order over the pool.
std::vector<int> page_table(int sequences, int pages, Bench& bench) {
    std::vector<int> table(static_cast<std::size_t>(sequences * pages));
    std::iota(table.begin(), table.end(), 0);
    kernels::SplitMix random(bench.seed());
    for (std::size_t i = table.size() - 1; i > 0; --i) std::swap(table[i], table[random.below(i + 1)]);
    return table;
}

Outcome measure_decode(const Case& c, Bench& bench) {
    const Shape s = shape_of(c, false);
    const int page = static_cast<int>(c.params.value("page", 0));
    const int pages = page > 0 ? (s.kv_tokens + page - 1) / page : 0;
    const std::size_t keys = page > 0 ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(page)
                                      : static_cast<std::size_t>(s.kv_tokens);
    const std::size_t cache = static_cast<std::size_t>(s.batch) * s.kv_heads * keys * s.dim;
    const int copies = bench.copies(cache * 4, c.cache);
    const auto rows = static_cast<std::size_t>(s.batch) * s.heads * s.dim;
    const DeviceBuffer q = random_bf16(rows, bench), o = poisoned(rows, bench);
    std::vector<DeviceBuffer> k, v;
    for (int i = 0; i < copies; ++i) {
        k.push_back(random_bf16(cache, bench));
        v.push_back(random_bf16(cache, bench));
    }
    DeviceBuffer table;
    if (page > 0) {
        const std::vector<int> host = page_table(s.batch, pages, bench);
        table = DeviceBuffer(host.size() * sizeof(int));
        // On the bench's stream: it waits for no copy of the default stream.
        kernels::check(cudaMemcpyAsync(table.as(), host.data(), table.bytes(), cudaMemcpyHostToDevice, bench.stream()),
                       "cudaMemcpyAsync");
        bench.synchronize();
    }
    const Json& tile = c.schedule.at("tile");
    const kernels::DecodeSchedule schedule{.tile = tile[1],
                                           .stages = static_cast<int>(c.scheduled("stages")),
                                           .split = static_cast<int>(c.scheduled("split")),
                                           .tma = c.schedule.at("path").get<std::string>() == "tma"};
    std::vector<kernels::DecodePlan> plans;
    for (std::size_t i = 0; i < k.size(); ++i) {
        DecodeProblem p{};
        p.batch = s.batch;
        p.heads = s.heads;
        p.kv_heads = s.kv_heads;
        p.kv = s.kv_tokens;
        p.head_dim = s.dim;
        p.q = q.as();
        p.k = k[i].as();
        p.v = v[i].as();
        p.page = page;
        p.pages = table.as<int>();
        p.page_slots = s.batch * pages;
        p.o = o.as();
        plans.emplace_back(p, schedule);
    }
    const auto launch = [&](int i) { plans[static_cast<std::size_t>(i) % plans.size()].launch(bench.stream()); };
    launch(0);
    const std::int64_t dim = s.dim, per_block = page > 0 ? page : s.kv_tokens;
    const KeyPlace place{s.kv_heads * per_block * dim, per_block * dim, dim, table.as<int>(), page, pages};
    const Check check = check_rows(s, q.as(), k[0].as(), v[0].as(), o.as(), place, {0}, bench);
    return timed(c, bench, copies, check, plans.front().ctas(), launch);
}

Outcome measure_prefill(const Case& c, Bench& bench) {
    const Shape s = shape_of(c, true);
    const std::size_t q_elements = static_cast<std::size_t>(s.batch) * s.q_tokens * s.heads * s.dim;
    const std::size_t kv_elements = static_cast<std::size_t>(s.batch) * s.kv_tokens * s.kv_heads * s.dim;
    const int copies = std::min(bench.copies(2 * (2 * q_elements + 2 * kv_elements), c.cache), 8);
    const DeviceBuffer o = poisoned(q_elements, bench);
    std::vector<DeviceBuffer> memory;
    std::vector<kernels::PrefillPlan> plans;
    const Json& tile = c.schedule.at("tile");
    const kernels::PrefillSchedule schedule{
        .tile_q = tile[0], .tile_kv = tile[1], .stages = static_cast<int>(c.scheduled("stages"))};
    PrefillProblem first{};
    for (int i = 0; i < copies; ++i) {
        PrefillProblem p{};
        p.batch = s.batch;
        p.heads = s.heads;
        p.kv_heads = s.kv_heads;
        p.q_tokens = s.q_tokens;
        p.kv_tokens = s.kv_tokens;
        p.head_dim = s.dim;
        p.causal = s.causal;
        p.q = memory.emplace_back(random_bf16(q_elements, bench)).as();
        p.k = memory.emplace_back(random_bf16(kv_elements, bench)).as();
        p.v = memory.emplace_back(random_bf16(kv_elements, bench)).as();
        p.q_stride = static_cast<std::int64_t>(s.heads) * s.dim;
        p.kv_stride = static_cast<std::int64_t>(s.kv_heads) * s.dim;
        p.o = o.as();
        plans.emplace_back(p, schedule);
        if (i == 0) first = p;
    }
    const auto launch = [&](int i) { plans[static_cast<std::size_t>(i) % plans.size()].launch(bench.stream()); };
    launch(0);
    // A row of every 64 queries up to 16 of them, and the last: the reference is slow.
    std::vector<int> rows;
    const int step = std::max(64, s.q_tokens / 16);
    for (int row = 0; row < s.q_tokens; row += step) rows.push_back(std::min(row + 37, s.q_tokens - 1));
    rows.push_back(s.q_tokens - 1);
    const KeyPlace place{s.kv_tokens * first.kv_stride, s.dim, first.kv_stride, nullptr, 0, 0};
    const Check check = check_rows(s, first.q, first.k, first.v, o.as(), place, rows, bench);
    return timed(c, bench, copies, check, plans.front().ctas(), launch);
}

}  // namespace

Outcome measure_attention(const Case& c, Bench& bench) {
    return c.op == "attention_decode" ? measure_decode(c, bench) : measure_prefill(c, bench);
}

}  // namespace memwall::measure
