// Attention of one new token as FlashAttention-3 runs it for a batch of sequences of any length (vLLM's decode): the
// query heads of a KV head fill some of the rows of a tile and the others are computed for nothing, persistent
// CTAs take work items as they come free, and the combining kernel is launched whether anything was split or not.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "workload/attention_decode.h"
#include "workload/online_softmax.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = kDecodeBatch, kKvHead = kDecodeKvHead, kSplit = kDecodeSplit;
constexpr int kK = 0, kV = 1, kQ = 2, kTable = 3, kLengths = 4;  // rings
constexpr int kStages = 2;

struct Plan {
    FlashTile tile;
    std::int64_t stages, tiles, share, splits, group, tile_bytes, q_bytes;
    LoadPath path;
    bool overlap;
    /// Over the tiles of a work item, but its first `done`.
    [[nodiscard]] Step loop_over(std::int64_t done = 0) const {
        return loop(share - done, Affine(tiles - done) + item(kSplit, -share));
    }
};

/// That of a prefill without a mask, but for a single warpgroup where vLLM's variant has such a kernel and the queries
/// of a group fit.
FlashTile tile_of(const AttentionShape& s, const ScheduleWish& wish) {
    const std::int64_t group = s.heads / s.kv_heads;
    FlashTile tile = flash_tile(s.head_dim, s.kv_dtype, false, s.page > 0);
    if (trace::bits_of(s.kv_dtype) == 16 && group <= kWarpgroupRows) {
        if (s.head_dim <= 64) tile = {kWarpgroupRows, 192};
        if (s.head_dim > 96 && s.head_dim <= 128) tile.rows = kWarpgroupRows;
    }
    if (wish.tile) tile = {(*wish.tile)[0], (*wish.tile)[1]};
    return checked_tile("attention_decode kernel=flash3, tile", tile, group);
}

Plan plan_of(const AttentionShape& s, const FlashDecode& how, const ScheduleWish& wish, const device::Device& device) {
    Plan p{};
    p.tile = tile_of(s, wish);
    p.stages = wish.stages.value_or(kStages);
    p.tiles = ceil_div(s.kv, p.tile.keys);
    p.share = ceil_div(p.tiles, flash_decode_splits(s, wish, device));
    p.splits = ceil_div(p.tiles, p.share);
    p.group = s.heads / s.kv_heads;
    p.tile_bytes = p.tile.keys * s.head_dim * trace::bits_of(s.kv_dtype) / 8;
    p.q_bytes = p.tile.rows * s.head_dim * trace::bits_of(s.dtype) / 8;
    // The TMA fetches whole pages, and for more queries of a group than a tile has rows only.
    p.path = wish.path.value_or(s.page > 0 ? LoadPath::plain : LoadPath::tma);
    p.overlap = how.overlap;
    check_smem("attention_decode kernel=flash3", 2 * p.tile_bytes, "K and V of a tile", static_cast<int>(p.stages),
               p.q_bytes + p.tile.p_bytes(s.dtype), device);
    return p;
}

trace::Role producer(const AttentionShape& s, const Plan& p, const AttentionTensors& t, const FlashScratch& scratch) {
    const Affine first_tile = item(kSplit, p.share);
    const auto tile = [&](int ring, int tensor) {
        return move(StepKind::load, ring, tensor,
                    {item(kBatch), item(kKvHead), first_tile * p.tile.keys + turn(0, p.tile.keys), 0},
                    {1, 1, p.tile.keys, s.head_dim}, p.path);
    };
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency)};
    // What the scheduler left of this sequence, and its length.
    for (int i = 0; i < kFlashLookups; ++i) look_up(steps, scratch.length(i, item(kBatch), kLengths));
    append(steps, {acquire(kQ),
                   move(StepKind::load, kQ, t.q, {item(kBatch), 0, item(kKvHead, p.group), 0},
                        {1, 1, p.group, s.head_dim}, LoadPath::plain),
                   commit(kQ), p.loop_over()});
    if (scratch.entries > 0) look_up(steps, scratch.pages(item(kBatch), first_tile + turn(0), kTable));
    append(steps, {acquire(kK), tile(kK, t.k), commit(kK), acquire(kV), tile(kV, t.v), commit(kV), end_loop()});
    return {"producer", 1, p.path == LoadPath::tma ? 1 : 4, std::move(steps)};
}

/// One warpgroup's. The scores of the next tile are made while those of this one meet the values (IntraWGOverlap), or
/// one after the other.
trace::Role consumer(const AttentionShape& s, const Plan& p, const AttentionTensors& t, const FlashScratch& scratch,
                     int warpgroup) {
    const auto& [qk, pv, maximum, exponential, convert, rescale] = flash_steps(s, p.tile);
    const auto outputs = static_cast<double>(kWarpgroupRows * s.head_dim);
    std::vector<Step> steps = {wait_full(kQ)};
    if (p.overlap) {
        append(steps, {wait_full(kK), qk,          wait_mma(0),    release(kK),   maximum,
                       exponential,   convert,     p.loop_over(1), wait_full(kK), qk,
                       wait_full(kV), pv,          wait_mma(1),    release(kK),   maximum,
                       exponential,   wait_mma(0), release(kV),    rescale,       end_loop(),
                       wait_full(kV), pv,          wait_mma(0),    release(kV)});
    } else {
        append(steps, {p.loop_over(), wait_full(kK), qk, wait_mma(0), release(kK), maximum, exponential, rescale,
                       wait_full(kV), pv, wait_mma(0), release(kV), end_loop()});
    }
    append(steps, {release(kQ), vector({outputs * 2, static_cast<double>(kWarpgroupRows), 0, kReduceLatency})});
    // The queries that there are stand in the first rows.
    const bool partial = p.splits > 1;
    if (warpgroup == 0)
        steps.push_back(
            move(StepKind::store, -1, partial ? t.partial : t.o,
                 {partial ? item(kSplit) : item(kBatch), partial ? item(kBatch) : Affine(0), item(kKvHead, p.group), 0},
                 {1, 1, p.group, s.head_dim}, LoadPath::plain));
    if (warpgroup == 0 && partial)
        steps.push_back(move(StepKind::store, -1, scratch.lse, {item(kSplit), item(kKvHead, p.group), item(kBatch)},
                             {1, p.group, 1}, LoadPath::plain));
    if (warpgroup == 0) steps.push_back(simple(StepKind::wait_reads));  // the next item's products overwrite them
    return {fmt::format("consumer{}", warpgroup), 1, 4, std::move(steps), warpgroup};
}

}  // namespace

std::int64_t flash_decode_splits(const AttentionShape& s, const ScheduleWish& wish, const device::Device& device) {
    const std::int64_t tiles = ceil_div(s.kv, tile_of(s, wish).keys), sms = device.sms();
    if (wish.split) return std::clamp<std::int64_t>(*wish.split, 1, tiles);
    // At most as many as fill the chip from the heads of one sequence (num_splits_heuristic of heuristics.h) ...
    std::int64_t most = 1;
    if (tiles > 4 && static_cast<double>(s.kv_heads) < 0.8 * static_cast<double>(sms)) {
        const auto full = [&](std::int64_t splits) {
            const double waves = static_cast<double>(s.kv_heads * splits) / static_cast<double>(sms);
            return waves / std::ceil(waves);
        };
        const std::int64_t last = std::min<std::int64_t>({128, sms, tiles});
        double best = 0;
        for (std::int64_t n = 1; n <= last; ++n) best = std::max(best, full(n));
        while (full(most) < 0.85 * best) ++most;
    }
    // ... and as few as give each SM a tenth more than its share of all tiles (flash_prepare_scheduler.cu).
    const double share = 1.1 * static_cast<double>(s.batch * tiles * s.kv_heads) / static_cast<double>(sms);
    const auto tiles_of_cta = static_cast<std::int64_t>(std::ceil(share));
    return std::clamp<std::int64_t>(ceil_div(tiles, tiles_of_cta), 1, most);
}

void append_flash_decode(trace::Trace& trace, const AttentionShape& s, const FlashDecode& how,
                         const AttentionTensors& tensors, const ScheduleWish& wish, const std::string& name,
                         const device::Device& device) {
    const Plan p = plan_of(s, how, wish, device);
    FlashScratch scratch = add_flash_scratch(trace, s, p.tile.keys, name);
    // Logarithms of the sums of exponentials: the heads of a split side by side only where there is one sequence.
    if (p.splits > 1) scratch.lse = trace.add_tensor(name + ".lse", trace::Dtype::fp32, {p.splits, s.heads, s.batch});
    if (how.schedule_in_call) append_flash_schedule(trace, s, scratch, "attention_decode", name);
    trace::Kernel k;
    k.name = name;
    k.op = "attention_decode";
    k.params = attention_params(s);
    k.work.names = {"batch", "kv_head", "split", ""};
    k.work.extent = {s.batch, s.kv_heads, p.splits, 1};
    k.work.persistent = true;
    k.work.dynamic = true;
    k.ctas = std::min<std::int64_t>(k.work.items(), device.sms());
    k.registers_per_thread = flash_registers(p.tile.warpgroups());
    k.smem_bytes = 2 * p.stages * p.tile_bytes + p.q_bytes + p.tile.p_bytes(s.dtype);
    const int stages = static_cast<int>(p.stages), consumers = p.tile.warpgroups();
    k.rings = {{"k", stages, p.tile_bytes, consumers, false},
               {"v", stages, p.tile_bytes, consumers, false},
               {"q", 1, p.q_bytes, consumers, false},
               {"page_table", 1, std::max<std::int64_t>(1, scratch.entries) * 4, 1, true},
               {"lengths", 1, kSectorBytes, 1, true}};
    k.roles = {producer(s, p, tensors, scratch)};
    for (int warpgroup = 0; warpgroup < consumers; ++warpgroup)
        k.roles.push_back(consumer(s, p, tensors, scratch, warpgroup));
    count_decode(k, s);
    k.tile = {static_cast<int>(p.tile.rows), static_cast<int>(p.tile.keys), static_cast<int>(s.head_dim)};
    k.stages = stages;
    k.split = static_cast<int>(p.splits);
    trace.kernels.push_back(std::move(k));
    append_flash_combine(trace, s, p.splits, tensors, scratch, name);
}

}  // namespace memwall::workload
