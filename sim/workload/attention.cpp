// Attention: decode with split KV, prefill in the manner of FlashAttention, and prefill without it.

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "workload/gemm.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kKvTile = 128;  // keys per step
constexpr int kQueryTile = 128;
/// fp32 operations of online softmax per score: scale, running maximum, subtract, convert, row sum, and the share of
/// rescaling the accumulator (FlashAttention-3 counts the exponential apart: it runs in the SFU).
constexpr double kSoftmaxOps = 6;

double bytes_of(std::int64_t elements, trace::Dtype dtype) {
    return static_cast<double>(elements) * trace::bits_of(dtype) / 8;
}

int kv_tile(const ScheduleWish& wish) {
    return wish.tile ? (*wish.tile)[1] : kKvTile;
}

/// K and V of one tile for one KV head: rows of head_dim. Tensor: [batch][kv_head][token][head_dim].
Step load_kv(int ring, int tensor, Affine batch, Affine head, Affine token, int tile, std::int64_t head_dim) {
    return move(StepKind::load, ring, tensor, {std::move(batch), std::move(head), std::move(token), 0},
                {1, 1, tile, head_dim}, LoadPath::tma);
}

}  // namespace

AttentionTensors add_attention_tensors(trace::Trace& trace, const AttentionShape& s, const std::string& name) {
    AttentionTensors t{};
    t.q = trace.add_tensor(name + ".q", s.dtype, {s.batch, s.q, s.heads, s.head_dim});
    t.k = trace.add_tensor(name + ".k", s.kv_dtype, {s.batch, s.kv_heads, s.kv, s.head_dim});
    t.v = trace.add_tensor(name + ".v", s.kv_dtype, {s.batch, s.kv_heads, s.kv, s.head_dim});
    t.o = trace.add_tensor(name + ".o", s.dtype, {s.batch, s.q, s.heads, s.head_dim});
    for (const int tensor : {t.k, t.v}) {
        if (s.page == 0) continue;
        trace.tensors[static_cast<std::size_t>(tensor)].paged_dim = 2;
        trace.tensors[static_cast<std::size_t>(tensor)].page_extent = s.page;
    }
    return t;
}

int decode_splits(const AttentionShape& s, const device::Device& device) {
    // Two CTAs for every SM, each with at least two tiles, as FlashDecoding and FlashInfer split.
    const std::int64_t units = s.batch * s.kv_heads;
    const std::int64_t wanted = ceil_div(2LL * device.sms(), units);
    return static_cast<int>(std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(1, s.kv / (2 * kKvTile))));
}

void append_attention_decode(trace::Trace& trace, const AttentionShape& s, const AttentionTensors& tensors,
                             const ScheduleWish& wish, const std::string& name, const device::Device& device) {
    const int tile = kv_tile(wish);
    const std::int64_t tiles = ceil_div(s.kv, tile);
    const std::int64_t wanted = wish.split.value_or(decode_splits(s, device));
    const std::int64_t share = ceil_div(tiles, std::clamp<std::int64_t>(wanted, 1, tiles));
    const std::int64_t splits = ceil_div(tiles, share);
    const std::int64_t group = s.heads / s.kv_heads;
    const auto tile_bytes = static_cast<std::int64_t>(bytes_of(tile * s.head_dim, s.kv_dtype));
    const int stages =
        wish.stages.value_or(static_cast<int>(std::clamp<std::int64_t>((96 << 10) / (2 * tile_bytes), 2, 4)));
    check_smem(fmt::format("attention_decode with {} keys per tile", tile), 2 * tile_bytes,
               fmt::format("K and V of {}x{} {}", tile, s.head_dim, trace::name_of(s.kv_dtype)), stages,
               group * s.head_dim * 4, device);
    trace::Kernel k;
    k.name = name;
    k.op = "attention_decode";
    k.work.names = {"batch", "kv_head", "split", ""};
    k.work.extent = {s.batch, s.kv_heads, splits, 1};
    k.ctas = k.work.items();
    k.smem_bytes = 2 * tile_bytes * stages + group * s.head_dim * 4;
    k.registers_per_thread = 168;
    k.rings = {{"kv", stages, 2 * tile_bytes, 1, false}, {"q", 1, group * s.head_dim * 2, 1, false}};
    const Affine token = item(2, share * tile) + turn(0, tile);
    const Affine limit = Affine(tiles) + item(2, -share);
    Step query =
        move(StepKind::load, 1, tensors.q, {item(0), 0, item(1, group), 0}, {1, 1, group, s.head_dim}, LoadPath::tma);
    const trace::Role producer{
        "producer",
        1,
        1,
        {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(1), query, commit(1),
         loop(share, limit), acquire(0), load_kv(0, tensors.k, item(0), item(1), token, tile, s.head_dim),
         load_kv(0, tensors.v, item(0), item(1), token, tile, s.head_dim), commit(0), end_loop()}};
    // Up to eight queries of a group fit the n of a small wgmma with the keys on its m side; scores are padded to it.
    const int columns = static_cast<int>(ceil_div(group, 8) * 8);
    const auto dim = static_cast<int>(s.head_dim);
    const double scores = static_cast<double>(tile) * static_cast<double>(group);
    const double widen = s.kv_dtype == s.dtype ? 0 : 2.0 * tile * static_cast<double>(s.head_dim);
    std::vector<Step> steps = {
        wait_full(1),
        loop(share, limit),
        wait_full(0),
        mma({tile, columns, dim, s.dtype, false}),
        wait_mma(0),
        vector({scores * kSoftmaxOps + widen, scores, scores * 4, 100}),
        mma({static_cast<int>(ceil_div(dim, 64) * 64), columns, tile, s.dtype, false}),
        wait_mma(0),
        release(0),
        end_loop(),
        release(1),
        vector({static_cast<double>(group * s.head_dim), 0, static_cast<double>(group * s.head_dim * 4), 60})};
    if (splits > 1) {
        steps.push_back(move(StepKind::store, -1, tensors.partial, {item(2), item(0), item(1, group), 0},
                             {1, 1, group, s.head_dim}, LoadPath::plain));
    } else {
        steps.push_back(move(StepKind::store, -1, tensors.o, {item(0), 0, item(1, group), 0}, {1, 1, group, s.head_dim},
                             LoadPath::plain));
    }
    k.roles = {producer, {"consumer", 1, 4, steps}};
    k.flops = 4.0 * static_cast<double>(s.batch * s.heads * s.kv * s.head_dim);
    k.math_dtype = s.dtype;
    k.tensor_cores = true;
    k.tile = {columns, tile, dim};
    k.stages = stages;
    k.split = static_cast<int>(splits);
    k.compulsory_read_bytes =
        static_cast<std::uint64_t>(2 * bytes_of(s.batch * s.kv_heads * s.kv * s.head_dim, s.kv_dtype) +
                                   bytes_of(s.batch * s.heads * s.head_dim, s.dtype));
    k.compulsory_write_bytes = static_cast<std::uint64_t>(bytes_of(s.batch * s.heads * s.head_dim, s.dtype));
    trace.kernels.push_back(k);
    if (splits == 1) return;

    // The combine: weighs the partial outputs of each head.
    trace::Kernel c;
    c.name = name + ".combine";
    c.op = "attention_decode";
    c.work.extent = {s.batch, s.heads, 1, 1};
    c.ctas = c.work.items();
    c.registers_per_thread = 48;
    const double outputs = static_cast<double>(splits * s.head_dim);
    c.rings = {{"registers", 1, splits * s.head_dim * 4, 1, true}};
    c.roles = {
        {"threads",
         1,
         4,
         {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0),
          move(StepKind::load, 0, tensors.partial, {0, item(0), item(1), 0}, {splits, 1, 1, s.head_dim},
               LoadPath::plain),
          commit(0), wait_full(0), vector({outputs * 2, static_cast<double>(splits), 0, 200}),
          move(StepKind::store, -1, tensors.o, {item(0), 0, item(1), 0}, {1, 1, 1, s.head_dim}, LoadPath::plain)}}};
    c.flops = 2.0 * outputs * static_cast<double>(s.batch * s.heads);
    c.math_dtype = trace::Dtype::fp32;
    c.compulsory_write_bytes = 0;  // counted with the kernel whose output it completes
    trace.kernels.push_back(std::move(c));
}

void append_attention_prefill(trace::Trace& trace, const AttentionShape& s, const AttentionTensors& tensors,
                              const ScheduleWish& wish, const std::string& name, const device::Device& device) {
    // FlashAttention-3, head size 128: 128 queries by 128 keys (causal), two consumer warpgroups of 64 queries, K and V
    // in stages of their own.
    const int tile = kv_tile(wish);
    const int queries = wish.tile ? (*wish.tile)[0] : kQueryTile;
    if (queries % 64 != 0 || queries > 192)
        throw InputError("attention_prefill tile", fmt::format("{} queries", queries), "64, 128 or 192");
    const int groups = queries / 64;
    const auto tile_bytes = static_cast<std::int64_t>(bytes_of(tile * s.head_dim, s.kv_dtype));
    const auto q_bytes = static_cast<std::int64_t>(bytes_of(queries * s.head_dim, s.dtype));
    const int stages = wish.stages.value_or(2) * 2;  // of K and of V, in turn
    check_smem(fmt::format("attention_prefill with {}x{} tiles", queries, tile), tile_bytes,
               fmt::format("{}x{} {} of K or V", tile, s.head_dim, trace::name_of(s.kv_dtype)), stages, q_bytes,
               device);
    const std::int64_t q_tiles = ceil_div(s.q, queries);
    const std::int64_t kv_tiles = ceil_div(s.kv, tile);
    const std::int64_t group = s.heads / s.kv_heads;

    trace::Kernel k;
    k.name = name;
    k.op = "attention_prefill";
    k.work.names = {"batch", "q_tile", "kv_head", "head"};
    k.work.extent = {s.batch, q_tiles, s.kv_heads,
                     group};  // longest q tiles first: q is walked backwards under a causal mask
    k.ctas = k.work.items();
    k.smem_bytes = tile_bytes * stages + q_bytes;
    k.registers_per_thread = 160;
    k.rings = {{"kv", stages, tile_bytes, groups, false}, {"q", 1, q_bytes, groups, false}};
    const Affine q_tile = s.causal ? Affine(q_tiles - 1) + item(1, -1) : item(1);
    // Keys that a query tile may see: those up to its last query; the mask's diagonal is offset by kv - q.
    Affine limit = Affine(kv_tiles);
    if (s.causal)
        limit = Affine(std::max<std::int64_t>(1, ceil_div((s.kv - s.q) + q_tiles * queries, tile))) +
                item(1, -std::max(1, queries / tile));
    const Affine head = item(2, group) + item(3);
    const Step query = move(StepKind::load, 1, tensors.q, {item(0), q_tile * queries, head, 0},
                            {1, queries, 1, s.head_dim}, LoadPath::tma);
    const Affine token = turn(0, tile);
    const trace::Role producer{
        "producer",
        1,
        1,
        {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(1), query, commit(1),
         loop(kv_tiles, limit), acquire(0), load_kv(0, tensors.k, item(0), item(2), token, tile, s.head_dim), commit(0),
         acquire(0), load_kv(0, tensors.v, item(0), item(2), token, tile, s.head_dim), commit(0), end_loop()}};
    const auto dim = static_cast<int>(s.head_dim);
    const double scores = 64.0 * tile;
    const Step qk = mma({64, tile, dim, s.dtype, false});
    const Step pv = mma({64, dim, tile, s.dtype, true});  // P stays in registers
    const Step softmax = vector({scores * kSoftmaxOps, scores, 0, 40});
    std::vector<Step> steps = {wait_full(1), loop(kv_tiles, limit), wait_full(0), qk,          wait_mma(0), release(0),
                               softmax,      wait_full(0),          pv,           wait_mma(0), release(0),  end_loop(),
                               release(1)};
    steps.push_back(vector({64.0 * static_cast<double>(s.head_dim) * 2, 64, 64.0 * bytes_of(s.head_dim, s.dtype), 60}));
    steps.push_back(move(StepKind::store, -1, tensors.o, {item(0), q_tile * queries + instance(64), head, 0},
                         {1, 64, 1, s.head_dim}, LoadPath::tma));
    k.roles = {producer, {"consumer", groups, 4, steps}};
    const double pairs = s.causal ? static_cast<double>(s.q) * static_cast<double>(s.kv) -
                                        static_cast<double>(s.q) * static_cast<double>(s.q - 1) / 2
                                  : static_cast<double>(s.q) * static_cast<double>(s.kv);
    k.flops = 4.0 * static_cast<double>(s.batch * s.heads * s.head_dim) * pairs;
    k.math_dtype = s.dtype;
    k.tensor_cores = true;
    k.tile = {queries, tile, dim};
    k.stages = stages / 2;
    k.compulsory_read_bytes =
        static_cast<std::uint64_t>(2 * bytes_of(s.batch * s.kv_heads * s.kv * s.head_dim, s.kv_dtype) +
                                   bytes_of(s.batch * s.heads * s.q * s.head_dim, s.dtype));
    k.compulsory_write_bytes = static_cast<std::uint64_t>(bytes_of(s.batch * s.heads * s.q * s.head_dim, s.dtype));
    trace.kernels.push_back(std::move(k));
}

void append_attention_unfused(trace::Trace& trace, const AttentionShape& s, const AttentionTensors& tensors,
                              const std::string& name, const device::Device& device) {
    // Scores of all heads as one batched product each way; K and V are viewed per head, and every query head reads its
    // own.
    const std::int64_t batch = s.batch * s.heads;
    const int scores = trace.add_tensor(name + ".scores", s.dtype, {batch, s.q, s.kv});
    const int q = trace.add_tensor(name + ".q_heads", s.dtype, {batch, s.q, s.head_dim});
    const int kk = trace.add_tensor(name + ".k_heads", s.dtype, {batch, s.kv, s.head_dim});
    const int v = trace.add_tensor(name + ".v_heads", s.dtype, {batch, s.head_dim, s.kv});
    const int o = trace.add_tensor(name + ".o_heads", s.dtype, {batch, s.q, s.head_dim});
    (void)tensors;
    const GemmShape qk{s.q, s.kv, s.head_dim, batch, s.dtype, s.dtype, s.dtype};
    append_gemm(trace, qk, {q, kk, scores}, choose_gemm(qk, {}, device), name + ".scores", device);
    trace::Tensor rows = trace.tensors[static_cast<std::size_t>(scores)];
    rows.rank = 2;
    rows.shape = {batch * s.q, s.kv};
    rows.stride_bytes = {rows.stride_bytes[1], rows.stride_bytes[2]};
    const int view = trace.add_view(rows);
    append_rows(trace, softmax_shape(batch * s.q, s.kv, s.dtype), {view}, {view}, "softmax", name + ".softmax");
    const GemmShape pv{s.q, s.head_dim, s.kv, batch, s.dtype, s.dtype, s.dtype};
    append_gemm(trace, pv, {scores, v, o}, choose_gemm(pv, {}, device), name + ".values", device);
}

}  // namespace memwall::workload
