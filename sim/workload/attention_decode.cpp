// Attention of one new token over a KV cache: split over the keys, then combined.

#include "workload/attention_decode.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = kDecodeBatch, kKvHead = kDecodeKvHead, kSplit = kDecodeSplit;

/// Keys per step: the m side of one wgmma, as TensorRT-LLM's Hopper decode kernels have it (keys times queries).
constexpr int kKvTile = 64;
/// fp32 operations of online softmax per score: scale, running maximum, subtract, convert, row sum, and the share of
/// rescaling the accumulator (FlashAttention-3 counts the exponential apart: it runs in the SFU).
constexpr double kSoftmaxOps = 6;
/// Ring of one CTA, so that two CTAs share an SM: one computes while the other waits.
constexpr std::int64_t kRingBytes = 96 << 10;
constexpr int kCtasPerSm = 2;

struct DecodePlan {
    int tile;
    int stages;          // each holds K or V of a tile
    std::int64_t tiles;  // of all keys
    std::int64_t share;  // tiles of one split
    std::int64_t splits;
    std::int64_t group;  // query heads per KV head
    std::int64_t tile_bytes;
    LoadPath path;  // of keys and values
    [[nodiscard]] Step loop_over() const { return loop(share, Affine(tiles) + item(kSplit, -share)); }
};

int tile_of(const ScheduleWish& wish) {
    return wish.tile ? (*wish.tile)[1] : kKvTile;
}

DecodePlan plan_decode(const AttentionShape& s, const ScheduleWish& wish, const device::Device& device) {
    DecodePlan p{};
    p.tile = tile_of(wish);
    if (p.tile < 16 || p.tile % 16 != 0 || p.tile > 256) {
        throw InputError("attention_decode tile", fmt::format("{} keys", p.tile), "a multiple of 16 up to 256 keys");
    }
    p.tiles = ceil_div(s.kv, p.tile);
    const std::int64_t wanted = wish.split.value_or(decode_splits(s, device));
    p.share = ceil_div(p.tiles, std::clamp<std::int64_t>(wanted, 1, p.tiles));
    p.splits = ceil_div(p.tiles, p.share);
    p.group = s.heads / s.kv_heads;
    p.path = wish.path.value_or(LoadPath::tma);
    p.tile_bytes = p.tile * s.head_dim * trace::bits_of(s.kv_dtype) / 8;
    p.stages =
        2 * wish.stages.value_or(static_cast<int>(std::clamp<std::int64_t>(kRingBytes / (2 * p.tile_bytes), 2, 8)));
    check_smem(fmt::format("attention_decode with {} keys per tile", p.tile), p.tile_bytes,
               fmt::format("K or V of {}x{} {}", p.tile, s.head_dim, trace::name_of(s.kv_dtype)), p.stages,
               p.group * s.head_dim * 4, device);
    return p;
}

/// K or V of one tile for one KV head. The TMA takes smaller pages by one command each, as their addresses are known
/// one by one; threads that copy have an address each anyway.
void load_tile(std::vector<Step>& steps, const AttentionShape& s, const DecodePlan& p, int tensor) {
    const Affine token = item(kSplit, p.share * p.tile) + turn(0, p.tile);
    const bool by_page = s.page > 0 && s.page < p.tile && p.tile % s.page == 0 && p.path == LoadPath::tma;
    const std::int64_t tokens = by_page ? s.page : p.tile;
    const Affine from = by_page ? token + turn(1, s.page) : token;
    steps.push_back(acquire(0));
    if (by_page) steps.push_back(loop(p.tile / s.page));
    steps.push_back(
        move(StepKind::load, 0, tensor, {item(kBatch), item(kKvHead), from, 0}, {1, 1, tokens, s.head_dim}, p.path));
    if (by_page) steps.push_back(end_loop());
    steps.push_back(commit(0));
}

trace::Role decode_producer(const AttentionShape& s, const DecodePlan& p, const AttentionTensors& t) {
    const Step query = move(StepKind::load, 1, t.q, {item(kBatch), 0, item(kKvHead, p.group), 0},
                            {1, 1, p.group, s.head_dim}, LoadPath::tma);
    std::vector<Step> steps = {simple(StepKind::trigger_dependents),
                               simple(StepKind::wait_dependency),
                               acquire(1),
                               query,
                               commit(1),
                               p.loop_over()};
    load_tile(steps, s, p, t.k);
    load_tile(steps, s, p, t.v);
    steps.push_back(end_loop());
    return {"producer", 1, 1, steps};
}

trace::Role decode_consumer(const AttentionShape& s, const DecodePlan& p, const AttentionTensors& t) {
    // The queries of a KV head's group are the n of a small wgmma, padded to 8; keys and values are on its m side.
    const int columns = static_cast<int>(ceil_div(p.group, 8) * 8);
    const auto dim = static_cast<int>(s.head_dim);
    const double scores = static_cast<double>(p.tile) * static_cast<double>(p.group);
    const double widen = s.kv_dtype == s.dtype ? 0 : static_cast<double>(p.tile * s.head_dim);
    const auto outputs = static_cast<double>(p.group * s.head_dim);
    std::vector<Step> steps = {wait_full(1), p.loop_over(), wait_full(0)};
    if (widen > 0) steps.push_back(vector({widen, 0, 0, 0}));
    for (const Step& step : {mma({p.tile, columns, dim, s.dtype, false}), wait_mma(0), release(0),
                             vector({scores * kSoftmaxOps, scores, scores * 4, 100}), wait_full(0)}) {
        steps.push_back(step);
    }
    if (widen > 0) steps.push_back(vector({widen, 0, 0, 0}));
    for (const Step& step : {mma({static_cast<int>(ceil_div(dim, 64) * 64), columns, p.tile, s.dtype, false}),
                             wait_mma(0), release(0), end_loop(), release(1), vector({outputs, 0, outputs * 4, 60})}) {
        steps.push_back(step);
    }
    const bool partial = p.splits > 1;
    const Affine first = partial ? item(kSplit) : item(kBatch);
    const Affine second = partial ? item(kBatch) : Affine(0);
    steps.push_back(move(StepKind::store, -1, partial ? t.partial : t.o, {first, second, item(kKvHead, p.group), 0},
                         {1, 1, p.group, s.head_dim}, LoadPath::plain));
    return {"consumer", 1, 4, steps};
}

/// Weighs the partial outputs of each head.
void append_combine(trace::Trace& trace, const AttentionShape& s, std::int64_t splits, const AttentionTensors& t,
                    const std::string& name) {
    trace::Kernel k;
    k.name = name + ".combine";
    k.op = "attention_decode";
    k.work.names = {"batch", "head", "", ""};
    k.work.extent = {s.batch, s.heads, 1, 1};
    k.ctas = k.work.items();
    k.registers_per_thread = 48;
    const auto values = static_cast<double>(splits * s.head_dim);
    k.rings = {{"registers", 1, splits * s.head_dim * 4, 1, true}};
    k.roles = {
        {"threads",
         1,
         4,
         {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0),
          move(StepKind::load, 0, t.partial, {0, item(0), item(1), 0}, {splits, 1, 1, s.head_dim}, LoadPath::plain),
          commit(0), wait_full(0), vector({values * 2, static_cast<double>(splits), 0, 200}),
          move(StepKind::store, -1, t.o, {item(0), 0, item(1), 0}, {1, 1, 1, s.head_dim}, LoadPath::plain),
          release(0)}}};
    k.flops = 2.0 * values * static_cast<double>(s.batch * s.heads);
    k.math_dtype = trace::Dtype::fp32;
    k.compulsory_write_bytes = 0;  // counted with the kernel whose output it completes
    trace.kernels.push_back(std::move(k));
}

}  // namespace

void count_decode(trace::Kernel& k, const AttentionShape& s) {
    k.flops = 4.0 * static_cast<double>(s.batch * s.heads * s.kv * s.head_dim);
    k.math_dtype = s.dtype;
    k.tensor_cores = true;
    const std::int64_t q_all = s.batch * s.heads * s.head_dim * trace::bits_of(s.dtype) / 8;
    const std::int64_t kv_all = 2 * s.batch * s.kv_heads * s.kv * s.head_dim * trace::bits_of(s.kv_dtype) / 8;
    k.compulsory_read_bytes = static_cast<std::uint64_t>(kv_all + q_all);
    k.compulsory_write_bytes = static_cast<std::uint64_t>(q_all);
}

int decode_splits(const AttentionShape& s, const device::Device& device) {
    // FlashAttention's rule: no split when the heads nearly fill the chip; else the fewest splits whose waves are
    // nearly as full as the fullest, each with at least two tiles.
    const auto slots = static_cast<double>(kCtasPerSm * device.sms());
    const auto units = static_cast<double>(s.batch * s.kv_heads);
    if (units >= 0.8 * slots) return 1;
    const std::int64_t most = std::clamp<std::int64_t>(s.kv / (2 * kKvTile), 1, 128);
    const auto efficiency = [&](std::int64_t splits) {
        const double waves = units * static_cast<double>(splits) / slots;
        return waves / std::ceil(waves);
    };
    double best = 0;
    for (std::int64_t splits = 1; splits <= most; ++splits) best = std::max(best, efficiency(splits));
    for (std::int64_t splits = 1; splits <= most; ++splits) {
        if (efficiency(splits) >= 0.85 * best) return static_cast<int>(splits);
    }
    return 1;
}

std::vector<std::pair<std::string, std::string>> attention_params(const AttentionShape& s) {
    return {{"batch", std::to_string(s.batch)},       {"heads", std::to_string(s.heads)},
            {"kv_heads", std::to_string(s.kv_heads)}, {"kv", std::to_string(s.kv)},
            {"head_dim", std::to_string(s.head_dim)}, {"dtype", trace::name_of(s.kv_dtype)}};
}

void append_attention_decode(trace::Trace& trace, const AttentionShape& s, const AttentionTensors& tensors,
                             const ScheduleWish& wish, const std::string& name, const device::Device& device) {
    const DecodePlan p = plan_decode(s, wish, device);
    trace::Kernel k;
    k.name = name;
    k.op = "attention_decode";
    k.params = attention_params(s);
    k.work.names = {"batch", "kv_head", "split", ""};
    k.work.extent = {s.batch, s.kv_heads, p.splits, 1};
    k.ctas = k.work.items();
    k.registers_per_thread = 168;
    const std::int64_t q_bytes = p.group * s.head_dim * trace::bits_of(s.dtype) / 8;
    k.smem_bytes = p.tile_bytes * p.stages + p.group * s.head_dim * 4;
    k.rings = {{"kv", p.stages, p.tile_bytes, 1, false}, {"q", 1, q_bytes, 1, false}};
    k.roles = {decode_producer(s, p, tensors), decode_consumer(s, p, tensors)};
    count_decode(k, s);
    k.tile = {static_cast<int>(ceil_div(p.group, 8) * 8), p.tile, static_cast<int>(s.head_dim)};
    k.stages = p.stages / 2;
    k.split = static_cast<int>(p.splits);
    trace.kernels.push_back(std::move(k));
    if (p.splits > 1) append_combine(trace, s, p.splits, tensors, name);
}

}  // namespace memwall::workload
