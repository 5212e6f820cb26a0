// Attention of many new tokens: in the manner of FlashAttention-3, and without it.

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "workload/flash_attention.h"
#include "workload/gemm.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

// The work item's dimensions, of which the last varies fastest; the middle two depend on the plan.
constexpr int kBatch = 0, kGroup = 3;
constexpr int kK = 0, kV = 1, kQ = 2, kO = 3, kTable = 4, kLengths = 5;  // rings

// Masking a score: a comparison and a selection, both at half the rate; beside the keys' end the two rows of a thread
// share the comparison.
constexpr double kDiagonalOps = 4, kEndOps = 3;

struct FlashPlan {
    FlashTile tile;
    int groups;  // consumer warpgroups, 64 queries each
    int stages;  // of K, and of V
    std::int64_t q_tiles, kv_tiles;
    std::int64_t group;           // query heads per KV head that take turns as work items
    std::int64_t packed, tokens;  // a tile's rows: query heads of a KV head (PackGQA), by tokens
    std::int64_t tile_bytes, q_bytes;
    int kv_head_dim, query_dim;  // dimensions of the work item
    Affine q_tile;               // longest first under a causal mask
    Affine limit;                // keys that a query tile sees
    LoadPath path;               // of keys and values
    std::int64_t masked;         // key tiles that its diagonal crosses, at most: 1 without one

    /// Over the key tiles of an item after its first `from`, at most `most` of them.
    [[nodiscard]] Step loop_over(std::int64_t from, std::int64_t most) const {
        return loop(std::min(kv_tiles - from, most), limit + Affine(-from * tile.keys), tile.keys);
    }
};

FlashPlan plan_flash(const AttentionShape& s, const ScheduleWish& wish, const device::Device& device) {
    FlashPlan p{};
    const FlashTile usual = flash_tile(s.head_dim, s.dtype, s.causal, false);
    const bool pages = s.page > 0 && s.page < usual.keys;
    p.path = wish.path.value_or(pages ? LoadPath::plain : LoadPath::tma);
    p.tile = checked_tile(
        "attention_prefill tile",
        wish.tile ? FlashTile{(*wish.tile)[0], (*wish.tile)[1]} : flash_tile(s.head_dim, s.dtype, s.causal, pages), 1);
    if (p.path == LoadPath::tma && s.page > 0 && s.page < p.tile.keys)
        throw InputError("attention_prefill path", "tma",
                         fmt::format("plain: pages of {} tokens are smaller than a tile of {}", s.page, p.tile.keys));
    p.groups = p.tile.warpgroups();
    p.stages = wish.stages.value_or(2);
    p.kv_tiles = ceil_div(s.kv, p.tile.keys);
    // Sequences of any length come with pages, and FlashAttention-3 packs the heads of a group into the rows of a tile
    // for them (should_pack_gqa of heuristics.h); here those of which a warpgroup holds whole tokens.
    const std::int64_t group = s.heads / s.kv_heads;
    p.packed = s.page > 0 && kWarpgroupRows % group == 0 ? group : 1;
    p.tokens = p.tile.rows / p.packed;
    p.group = group / p.packed;
    p.q_tiles = ceil_div(s.q, p.tokens);
    p.tile_bytes = p.tile.keys * s.head_dim * trace::bits_of(s.kv_dtype) / 8;
    p.q_bytes = p.tile.rows * s.head_dim * trace::bits_of(s.dtype) / 8;
    check_smem(fmt::format("attention_prefill with tile {}x{}", p.tile.rows, p.tile.keys), 2 * p.tile_bytes,
               fmt::format("K and V of {}x{} {}", p.tile.keys, s.head_dim, trace::name_of(s.kv_dtype)), p.stages,
               p.q_bytes + p.tile.p_bytes(s.dtype), device);
    // Query tiles of a head follow each other, so that the CTAs at work share its keys in L2. Tiles of unequal length
    // go out longest first over all heads, if their keys and values stay in the L2 half that each SM reads (as
    // FlashAttention-3's scheduler does, which cuts the heads into sections that fit; here one section or one head).
    const std::int64_t cache = 2 * s.kv_heads * s.kv * s.head_dim * trace::bits_of(s.kv_dtype) / 8;
    const bool over_heads =
        s.causal && cache <= device.l2.slices * static_cast<std::int64_t>(device.l2.slice_bytes) / 2;
    p.kv_head_dim = over_heads ? 2 : 1;
    p.query_dim = over_heads ? 1 : 2;
    p.q_tile = item(p.query_dim);
    p.limit = s.kv;
    p.masked = 1;
    if (s.causal) {
        p.q_tile = Affine(p.q_tiles - 1) + item(p.query_dim, -1);
        // Up to the key of its last query; the diagonal is offset by the kv - q keys that came before.
        p.limit = Affine(s.kv - s.q + p.q_tiles * p.tokens) + item(p.query_dim, -p.tokens);
        p.masked = ceil_div(p.tokens, p.tile.keys);
    }
    return p;
}

/// The rows of a tile from its token `first` on: a box of the queries or of the output.
Step move_rows(StepKind kind, int ring, int tensor, const AttentionShape& s, const FlashPlan& p, const Affine& first,
               std::int64_t rows) {
    // The TMA neither packs heads nor stops at the end of a sequence of any length.
    const LoadPath path = s.page > 0 ? LoadPath::plain : LoadPath::tma;
    const Affine head = item(p.kv_head_dim, p.group * p.packed) + item(kGroup);
    return move(kind, ring, tensor, {item(kBatch), p.q_tile * p.tokens + first, head, 0},
                {1, rows / p.packed, p.packed, s.head_dim}, path);
}

trace::Role flash_producer(const AttentionShape& s, const FlashPlan& p, const AttentionTensors& t,
                           const FlashScratch& scratch) {
    const Step query = move_rows(StepKind::load, kQ, t.q, s, p, 0, p.tile.rows);
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency)};
    const auto find = [&](const Affine& n) {
        if (scratch.entries > 0) look_up(steps, scratch.pages(item(kBatch), n, kTable));
    };
    const auto fetch = [&](int ring, int tensor, const Affine& n) {
        append(steps, {acquire(ring),
                       move(StepKind::load, ring, tensor, {item(kBatch), item(p.kv_head_dim), n * p.tile.keys, 0},
                            {1, 1, p.tile.keys, s.head_dim}, p.path),
                       commit(ring)});
    };
    // Sequences with pages are of any length: what the scheduler left of this one, and its length.
    if (scratch.entries > 0) {
        for (int i = 0; i < kFlashLookups; ++i) look_up(steps, scratch.length(i, item(kBatch), kLengths));
    }
    // The first keys, then the queries. The values lie where the last output was: nothing but these goes before its
    // stores have been read.
    find(0);
    fetch(kK, t.k, 0);
    append(steps, {acquire(kQ), query, commit(kQ), acquire(kO), commit(kO)});
    fetch(kV, t.v, 0);
    steps.push_back(p.loop_over(1, p.kv_tiles));
    const Affine next = turn(0) + 1;
    find(next);
    fetch(kK, t.k, next);
    fetch(kV, t.v, next);
    steps.push_back(end_loop());
    const int warps = p.path == LoadPath::tma ? 1 : 4;
    return {"producer", 1, warps, std::move(steps)};
}

/// FlashAttention-3's overlap inside a warpgroup: the scores of the next tile are made while those of this one meet the
/// values; between warpgroups one's softmax runs beside the other's products.
trace::Role flash_consumer(const AttentionShape& s, const FlashPlan& p, const AttentionTensors& t) {
    // P is the product's operand until it is done, and so is the output that is rescaled.
    const auto& [qk, pv, maximum, exponential, convert, rescale] = flash_steps(s, p.tile);
    const double scores = static_cast<double>(kWarpgroupRows * p.tile.keys),
                 outputs = static_cast<double>(kWarpgroupRows * s.head_dim);
    const Step mask = vector({scores * (s.causal ? kDiagonalOps : kEndOps), 0, 0, 0});
    std::vector<Step> steps = {wait_full(kQ), wait_full(kO), wait_full(kK), qk,          wait_mma(0),
                               release(kK),   mask,          maximum,       exponential, convert};
    // The tiles that the diagonal crosses come first; the order makes no difference to what follows.
    const auto over_tiles = [&](const Step& begin, bool masked) {
        append(steps, {begin, wait_full(kK), qk, wait_full(kV), pv, wait_mma(1), release(kK)});
        if (masked) steps.push_back(mask);
        append(steps, {maximum, exponential, wait_mma(0), release(kV), rescale, end_loop()});
    };
    if (p.masked > 1) over_tiles(p.loop_over(1, p.masked - 1), true);
    over_tiles(p.loop_over(p.masked, p.kv_tiles), false);
    const Step store = move_rows(StepKind::store, -1, t.o, s, p, instance(kWarpgroupRows / p.packed), kWarpgroupRows);
    append(steps, {release(kQ),  // its last product has been waited for
                   wait_full(kV), pv, wait_mma(0), release(kV),
                   vector({outputs * 2, 64, outputs * trace::bits_of(s.dtype) / 8, 60}), store});
    // The next item's values overwrite the output where the TMA reads it. Threads have taken it into registers by now,
    // which its products overwrite.
    const Step read = simple(StepKind::wait_reads);
    if (store.path == LoadPath::tma) {
        append(steps, {read, release(kO)});
    } else {
        append(steps, {release(kO), read});
    }
    return {"consumer", p.groups, 4, std::move(steps)};
}

/// Pairs of a query and a key that it sees.
double pairs_of(const AttentionShape& s) {
    const auto q = static_cast<double>(s.q), kv = static_cast<double>(s.kv);
    return s.causal ? q * kv - q * (q - 1) / 2 : q * kv;
}

}  // namespace

int add_kv_cache(trace::Trace& trace, const AttentionShape& s, const std::string& name) {
    const int index = trace.add_tensor(name, s.kv_dtype, {s.batch, s.kv_heads, s.kv, s.head_dim});
    trace::Tensor& tensor = trace.tensors[static_cast<std::size_t>(index)];
    if (s.tokens_first) {
        // The same bytes: a token's heads lie side by side, and the tokens after one another.
        tensor.stride_bytes[1] = tensor.stride_bytes[2];
        tensor.stride_bytes[2] *= s.kv_heads;
    }
    if (s.page > 0) {
        tensor.paged_dim = 2;
        tensor.page_extent = s.page;
    }
    return index;
}

AttentionTensors add_attention_tensors(trace::Trace& trace, const AttentionShape& s, const std::string& name) {
    AttentionTensors t{};
    t.q = trace.add_tensor(name + ".q", s.dtype, {s.batch, s.q, s.heads, s.head_dim});
    t.k = add_kv_cache(trace, s, name + ".k");
    t.v = add_kv_cache(trace, s, name + ".v");
    t.o = trace.add_tensor(name + ".o", s.dtype, {s.batch, s.q, s.heads, s.head_dim});
    return t;
}

void append_attention_prefill(trace::Trace& trace, const AttentionShape& s, const AttentionTensors& tensors,
                              const ScheduleWish& wish, bool schedule_in_call, const std::string& name,
                              const device::Device& device) {
    if (trace::bits_of(s.dtype) > 16)
        throw InputError("attention_prefill, dtype", trace::name_of(s.dtype),
                         "fp16, bf16 or 8 bits, which FlashAttention-3 has kernels for; or flash=0");
    const FlashPlan p = plan_flash(s, wish, device);
    const FlashScratch scratch = s.page > 0 ? add_flash_scratch(trace, s, p.tile.keys, name) : FlashScratch{};
    if (schedule_in_call) append_flash_schedule(trace, s, scratch, "attention_prefill", name);
    trace::Kernel k;
    k.name = name;
    k.op = "attention_prefill";
    k.params = attention_params(s);
    k.params.emplace_back("q", std::to_string(s.q));
    k.params.emplace_back("causal", s.causal ? "1" : "0");
    k.work.names = {"batch", "", "", "head"};
    k.work.extent = {s.batch, 0, 0, p.group};
    k.work.names[static_cast<std::size_t>(p.kv_head_dim)] = "kv_head";
    k.work.extent[static_cast<std::size_t>(p.kv_head_dim)] = s.kv_heads;
    k.work.names[static_cast<std::size_t>(p.query_dim)] = "q_tile";
    k.work.extent[static_cast<std::size_t>(p.query_dim)] = p.q_tiles;
    // Persistent CTAs: equal tiles are dealt out beforehand, unequal ones are taken as CTAs come free.
    k.work.persistent = true;
    k.work.dynamic = s.causal;
    k.ctas = std::min<std::int64_t>(k.work.items(), device.sms());
    k.smem_bytes = 2 * p.tile_bytes * p.stages + p.q_bytes + p.tile.p_bytes(s.dtype);
    k.registers_per_thread = flash_registers(p.groups);
    k.rings = {{"k", p.stages, p.tile_bytes, p.groups, false},
               {"v", p.stages, p.tile_bytes, p.groups, false},
               {"q", 1, p.q_bytes, p.groups, false},
               {"o", 1, 0, p.groups, false}};
    if (scratch.entries > 0) {
        k.rings.push_back({"page_table", 1, scratch.entries * 4, 1, true});
        k.rings.push_back({"lengths", 1, kSectorBytes, 1, true});
    }
    k.roles = {flash_producer(s, p, tensors, scratch), flash_consumer(s, p, tensors)};
    k.flops = 4.0 * static_cast<double>(s.batch * s.heads * s.head_dim) * pairs_of(s);
    k.math_dtype = s.dtype;
    k.tensor_cores = true;
    k.tile = {static_cast<int>(p.tile.rows), static_cast<int>(p.tile.keys), static_cast<int>(s.head_dim)};
    k.stages = p.stages;
    const std::int64_t q_all = s.batch * s.heads * s.q * s.head_dim * trace::bits_of(s.dtype) / 8;
    const std::int64_t kv_all = 2 * s.batch * s.kv_heads * s.kv * s.head_dim * trace::bits_of(s.kv_dtype) / 8;
    k.compulsory_read_bytes = static_cast<std::uint64_t>(q_all + kv_all);
    k.compulsory_write_bytes = static_cast<std::uint64_t>(q_all);
    trace.kernels.push_back(std::move(k));
    // Where nothing is split, no combine sets the scheduler's counter back (hopper/flash_api.cpp, after the forward).
    if (s.page > 0 && !schedule_in_call)
        append_clear(trace, scratch.lengths, {1, 1, 1}, "attention_prefill", name + ".reset");
}

void append_attention_unfused(trace::Trace& trace, const AttentionShape& s, const std::string& name,
                              const device::Device& device) {
    // Scores of all heads as one batched product each way; every query head reads keys and values of its own.
    const std::int64_t batch = s.batch * s.heads;
    const int scores = trace.add_tensor(name + ".scores", s.dtype, {batch, s.q, s.kv});
    const int q = trace.add_tensor(name + ".q_heads", s.dtype, {batch, s.q, s.head_dim});
    const int k = trace.add_tensor(name + ".k_heads", s.dtype, {batch, s.kv, s.head_dim});
    const int v = trace.add_tensor(name + ".v_heads", s.dtype, {batch, s.head_dim, s.kv});
    const int o = trace.add_tensor(name + ".o_heads", s.dtype, {batch, s.q, s.head_dim});
    const GemmShape qk{s.q, s.kv, s.head_dim, batch, s.dtype, s.dtype, s.dtype};
    append_gemm(trace, qk, {q, k, scores}, choose_gemm(qk, {}, device), name + ".scores", device);
    trace::Tensor rows = trace.tensors[static_cast<std::size_t>(scores)];
    rows.rank = 2;
    rows.stride_bytes = {rows.stride_bytes[1], rows.stride_bytes[2]};
    rows.shape = {batch * s.q, s.kv};
    const int view = trace.add_view(rows);
    append_rows(trace, softmax_shape(batch * s.q, s.kv, s.dtype), {view}, {view}, "softmax", name + ".softmax");
    const GemmShape pv{s.q, s.head_dim, s.kv, batch, s.dtype, s.dtype, s.dtype};
    append_gemm(trace, pv, {scores, v, o}, choose_gemm(pv, {}, device), name + ".values", device);
}

}  // namespace memwall::workload
