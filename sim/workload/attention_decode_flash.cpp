// Attention of one new token as FlashAttention-3 runs it for a batch of sequences of any length (vLLM's decode): the
// query heads of a KV head fill some of the 64 rows of a product and the others are computed for nothing, persistent
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
constexpr int kWarpgroupRows = 64, kStages = 2;

struct Tile {
    std::int64_t rows, keys;
};

/// hopper/tile_size.h of vLLM's FlashAttention-3: a single warpgroup of 64 rows where the queries of a group fit and
/// the head size has such a kernel, shorter tiles of keys where they come page by page.
Tile tile_of(const AttentionShape& s) {
    const bool paged = s.page > 0, one = s.heads / s.kv_heads <= kWarpgroupRows;
    if (trace::bits_of(s.kv_dtype) <= 8) {
        if (s.head_dim <= 64) return {192, 160};
        if (s.head_dim <= 96) return {192, 128};
        if (s.head_dim <= 128) return {128, paged ? 160 : 224};
        return {128, s.head_dim <= 192 ? 160 : 128};
    }
    if (s.head_dim <= 64) return one ? Tile{64, 192} : Tile{192, paged ? 160 : 192};
    if (s.head_dim <= 96) return {192, paged ? 128 : 144};
    if (s.head_dim <= 128) return {one ? 64 : 128, paged ? 128 : 176};
    return {128, s.head_dim > 192 ? 80 : paged ? 96 : 112};
}

struct Plan {
    Tile tile;
    std::int64_t stages, tiles, share, splits, group, tile_bytes, q_bytes;
    std::int64_t entries;  // of the page table that a tile needs; 0: no pages
    LoadPath path;
    bool overlap;
    [[nodiscard]] int warpgroups() const { return static_cast<int>(tile.rows / kWarpgroupRows); }
    /// Over the tiles of a work item, but its first `done`.
    [[nodiscard]] Step loop_over(std::int64_t done = 0) const {
        return loop(share - done, Affine(tiles - done) + item(kSplit, -share));
    }
};

Tile tile_of(const AttentionShape& s, const ScheduleWish& wish) {
    if (!wish.tile) return tile_of(s);
    const Tile tile{(*wish.tile)[0], (*wish.tile)[1]};
    if (tile.rows < s.heads / s.kv_heads || tile.rows % kWarpgroupRows != 0)
        throw InputError(
            "attention_decode kernel=flash3, tile", fmt::format("{} rows", tile.rows),
            fmt::format("a multiple of {} that holds the {} queries of a group", kWarpgroupRows, s.heads / s.kv_heads));
    return tile;
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
    p.entries = s.page == 0 ? 0 : std::max<std::int64_t>(1, p.tile.keys / s.page);
    // Pages come by the TMA only to more queries than a tile has rows.
    p.path = wish.path.value_or(s.page > 0 ? LoadPath::plain : LoadPath::tma);
    p.overlap = how.overlap;
    check_smem("attention_decode kernel=flash3", 2 * p.tile_bytes, "K and V of a tile", static_cast<int>(p.stages),
               p.q_bytes, device);
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
    for (int i = 0; i < kFlashLookups; ++i) look_up(steps, scratch.read(i, item(kBatch), kLengths));
    append(steps, {acquire(kQ),
                   move(StepKind::load, kQ, t.q, {item(kBatch), 0, item(kKvHead, p.group), 0},
                        {1, 1, p.group, s.head_dim}, LoadPath::plain),
                   commit(kQ), p.loop_over()});
    if (p.entries > 0)
        look_up(steps,
                move(StepKind::load, kTable, scratch.page_table,
                     {item(kBatch), first_tile * p.entries + turn(0, p.entries)}, {1, p.entries}, LoadPath::plain));
    append(steps, {acquire(kK), tile(kK, t.k), commit(kK), acquire(kV), tile(kV, t.v), commit(kV), end_loop()});
    return {"producer", 1, p.path == LoadPath::tma ? 1 : 4, std::move(steps)};
}

/// One warpgroup's. The scores of the next tile are made while those of this one meet the values (IntraWGOverlap), or
/// one after the other.
trace::Role consumer(const AttentionShape& s, const Plan& p, const AttentionTensors& t, const FlashScratch& scratch,
                     int warpgroup) {
    const auto dim = static_cast<int>(s.head_dim), keys = static_cast<int>(p.tile.keys);
    const double scores = static_cast<double>(kWarpgroupRows) * keys,
                 outputs = static_cast<double>(kWarpgroupRows) * dim;
    const Step qk = mma({kWarpgroupRows, keys, dim, s.dtype, false}),
               pv = mma({kWarpgroupRows, dim, keys, s.dtype, true});
    const Step maximum = vector({scores * kMaximumOps, 0, 0, kReduceLatency}),
               exponential = vector({scores * kExponentialOps, scores, 0, 0}),
               rescale = vector({scores * kConvertOps + outputs, 0, 0, 0});
    std::vector<Step> steps = {wait_full(kQ)};
    if (p.overlap) {
        append(steps, {wait_full(kK),
                       qk,
                       wait_mma(0),
                       release(kK),
                       maximum,
                       exponential,
                       vector({scores * kConvertOps, 0, 0, 0}),
                       p.loop_over(1),
                       wait_full(kK),
                       qk,
                       wait_full(kV),
                       pv,
                       wait_mma(1),
                       release(kK),
                       maximum,
                       exponential,
                       wait_mma(0),
                       release(kV),
                       rescale,
                       end_loop(),
                       wait_full(kV),
                       pv,
                       wait_mma(0),
                       release(kV)});
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
    constexpr auto kWord = trace::Dtype::fp32;  // lengths and pages are integers as wide
    FlashScratch scratch{};
    scratch.lengths = trace.add_tensor(name + ".lengths", kWord, {kFlashLookups, s.batch, kSectorBytes / 4});
    if (p.entries > 0)
        scratch.page_table = trace.add_tensor(name + ".page_table", kWord, {s.batch, p.tiles * p.entries});
    // Logarithms of the sums of exponentials: the heads of a split side by side only where there is one sequence.
    if (p.splits > 1) scratch.lse = trace.add_tensor(name + ".lse", kWord, {p.splits, s.heads, s.batch});
    if (how.schedule_in_call) append_flash_schedule(trace, s, scratch, name);
    trace::Kernel k;
    k.name = name;
    k.op = "attention_decode";
    k.params = attention_params(s);
    k.work.names = {"batch", "kv_head", "split", ""};
    k.work.extent = {s.batch, s.kv_heads, p.splits, 1};
    k.work.persistent = true;
    k.work.dynamic = true;
    k.ctas = std::min<std::int64_t>(k.work.items(), device.sms());
    k.registers_per_thread = p.warpgroups() == 1 ? 240 : 168;
    k.smem_bytes = 2 * p.stages * p.tile_bytes + p.q_bytes;
    const int stages = static_cast<int>(p.stages), consumers = p.warpgroups();
    k.rings = {{"k", stages, p.tile_bytes, consumers, false},
               {"v", stages, p.tile_bytes, consumers, false},
               {"q", 1, p.q_bytes, consumers, false},
               {"page_table", 1, std::max<std::int64_t>(1, p.entries) * 4, 1, true},
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
