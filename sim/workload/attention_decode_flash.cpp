// Attention of one new token as FlashAttention-3 runs it for a batch of sequences of any length (vLLM's decode): the
// query heads of a KV head fill some of the 64 rows of a product and the others are computed for nothing, persistent
// CTAs take work items as they come free, and the combining kernel is launched whether anything was split or not.

#include <algorithm>
#include <cmath>

#include "workload/attention_decode.h"
#include "workload/online_softmax.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = kDecodeBatch, kKvHead = kDecodeKvHead, kSplit = kDecodeSplit;
constexpr int kKv = 0, kQ = 1, kTable = 2, kLengths = 3;  // rings

// hopper/tile_size.h of FlashAttention-3 for one consumer warpgroup and a masked, paged or split KV, which it has at
// head size 128 alone; at other sizes its tile has twice the rows or more, as idle as these.
constexpr int kRows = 64, kKeys = 128, kStages = 2;
constexpr std::int64_t kSectorBytes = 32;
/// Reads that follow one another before the first key is asked for, beside the page table's: what the scheduler left
/// of this sequence, and its length.
constexpr int kLookups = 2;

struct Plan {
    std::int64_t keys, stages, tiles, share, splits, group, tile_bytes, q_bytes;
    std::int64_t entries;  // of the page table that a tile needs; 0: no pages
    LoadPath path;
    [[nodiscard]] Step loop_over() const { return loop(share, Affine(tiles) + item(kSplit, -share)); }
};

std::int64_t keys_of(const ScheduleWish& wish) {
    return wish.tile ? (*wish.tile)[1] : kKeys;
}

Plan plan_of(const AttentionShape& s, const ScheduleWish& wish, const device::Device& device) {
    Plan p{};
    p.keys = keys_of(wish);
    p.stages = wish.stages.value_or(kStages);
    p.tiles = ceil_div(s.kv, p.keys);
    p.share = ceil_div(p.tiles, flash_decode_splits(s, wish, device));
    p.splits = ceil_div(p.tiles, p.share);
    p.group = s.heads / s.kv_heads;
    p.tile_bytes = p.keys * s.head_dim * trace::bits_of(s.kv_dtype) / 8;
    p.q_bytes = kRows * s.head_dim * trace::bits_of(s.dtype) / 8;
    p.entries = s.page == 0 ? 0 : std::max<std::int64_t>(1, p.keys / s.page);
    // The TMA is left where a page is smaller than a tile.
    p.path = wish.path.value_or(s.page > 0 && s.page < p.keys ? LoadPath::plain : LoadPath::tma);
    check_smem("attention_decode kernel=flash3", 2 * p.tile_bytes, "K and V of a tile", static_cast<int>(p.stages),
               p.q_bytes, device);
    return p;
}

trace::Role producer(const AttentionShape& s, const Plan& p, const AttentionTensors& t, int lengths, int table) {
    const Affine first_tile = item(kSplit, p.share);
    const auto tile = [&](int tensor) {
        return move(StepKind::load, kKv, tensor,
                    {item(kBatch), item(kKvHead), first_tile * p.keys + turn(0, p.keys), 0}, {1, 1, p.keys, s.head_dim},
                    p.path);
    };
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency)};
    for (int i = 0; i < kLookups; ++i)
        look_up(steps, move(StepKind::load, kLengths, lengths, {i, item(kBatch), 0}, {1, 1, kSectorBytes / 4},
                            LoadPath::plain));
    append(steps, {acquire(kQ),
                   move(StepKind::load, kQ, t.q, {item(kBatch), 0, item(kKvHead, p.group), 0},
                        {1, 1, p.group, s.head_dim}, LoadPath::plain),
                   commit(kQ), p.loop_over()});
    if (p.entries > 0)
        look_up(steps, move(StepKind::load, kTable, table, {item(kBatch), first_tile * p.entries + turn(0, p.entries)},
                            {1, p.entries}, LoadPath::plain));
    for (const int tensor : {t.k, t.v}) append(steps, {acquire(kKv), tile(tensor), commit(kKv)});
    steps.push_back(end_loop());
    return {"producer", 1, 4, std::move(steps)};
}

trace::Role consumer(const AttentionShape& s, const Plan& p, const AttentionTensors& t) {
    const auto dim = static_cast<int>(s.head_dim), keys = static_cast<int>(p.keys);
    const double scores = static_cast<double>(kRows) * keys, outputs = static_cast<double>(kRows) * dim;
    std::vector<Step> steps = {wait_full(kQ),
                               p.loop_over(),
                               wait_full(kKv),
                               mma({kRows, keys, dim, s.dtype, false}),
                               wait_mma(0),
                               release(kKv),
                               vector({scores * kMaximumOps, 0, 0, kReduceLatency}),
                               vector({scores * kExponentialOps, scores, 0, 0}),
                               vector({scores * kConvertOps + outputs, 0, 0, 0}),
                               wait_full(kKv),
                               mma({kRows, dim, keys, s.dtype, true}),
                               wait_mma(0),
                               release(kKv),
                               end_loop(),
                               release(kQ),
                               vector({outputs * 2, static_cast<double>(kRows), 0, kReduceLatency})};
    const bool partial = p.splits > 1;
    steps.push_back(
        move(StepKind::store, -1, partial ? t.partial : t.o,
             {partial ? item(kSplit) : item(kBatch), partial ? item(kBatch) : Affine(0), item(kKvHead, p.group), 0},
             {1, 1, p.group, s.head_dim}, LoadPath::plain));
    return {"consumer", 1, 4, std::move(steps)};
}

/// The combining kernel where nothing was split: its CTAs read so and leave. As many rows and threads each as in
/// hopper/flash_fwd_combine_launch_template.h.
void append_idle_combine(trace::Trace& trace, const AttentionShape& s, int lengths, const std::string& name) {
    const std::int64_t heads = s.head_dim % 128 == 0 ? 8 : s.head_dim % 64 == 0 ? 16 : 32;
    trace::Kernel k;
    k.name = name + ".combine";
    k.op = "attention_decode";
    k.work.names = {"batch", "heads", "", ""};
    k.work.extent = {s.batch, ceil_div(s.heads, heads), 1, 1};
    k.ctas = k.work.items();
    k.registers_per_thread = 48;
    k.rings = {{"registers", 1, kSectorBytes, 1, true}};
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency)};
    look_up(steps, move(StepKind::load, 0, lengths, {0, item(0), 0}, {1, 1, kSectorBytes / 4}, LoadPath::plain));
    k.roles = {{"threads", 1, 8, std::move(steps)}};
    k.math_dtype = trace::Dtype::fp32;
    trace.kernels.push_back(std::move(k));
}

}  // namespace

std::int64_t flash_decode_splits(const AttentionShape& s, const ScheduleWish& wish, const device::Device& device) {
    const std::int64_t tiles = ceil_div(s.kv, keys_of(wish)), sms = device.sms();
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

void append_flash_decode(trace::Trace& trace, const AttentionShape& s, const AttentionTensors& tensors,
                         const ScheduleWish& wish, const std::string& name, const device::Device& device) {
    const Plan p = plan_of(s, wish, device);
    constexpr auto kInt32 = trace::Dtype::fp32;  // as wide
    const int lengths = trace.add_tensor(name + ".lengths", kInt32, {kLookups, s.batch, kSectorBytes / 4});
    const int table =
        p.entries > 0 ? trace.add_tensor(name + ".page_table", kInt32, {s.batch, p.tiles * p.entries}) : -1;
    trace::Kernel k;
    k.name = name;
    k.op = "attention_decode";
    k.params = attention_params(s);
    k.work.names = {"batch", "kv_head", "split", ""};
    k.work.extent = {s.batch, s.kv_heads, p.splits, 1};
    k.work.persistent = true;
    k.work.dynamic = true;
    k.ctas = std::min<std::int64_t>(k.work.items(), device.sms());
    k.registers_per_thread = 240;
    k.smem_bytes = 2 * p.stages * p.tile_bytes + p.q_bytes;
    k.rings = {{"kv", static_cast<int>(2 * p.stages), p.tile_bytes, 1, false},
               {"q", 1, p.q_bytes, 1, false},
               {"page_table", 1, std::max<std::int64_t>(1, p.entries) * 4, 1, true},
               {"lengths", 1, kSectorBytes, 1, true}};
    k.roles = {producer(s, p, tensors, lengths, table), consumer(s, p, tensors)};
    count_decode(k, s);
    k.tile = {kRows, static_cast<int>(p.keys), static_cast<int>(s.head_dim)};
    k.stages = static_cast<int>(p.stages);
    k.split = static_cast<int>(p.splits);
    trace.kernels.push_back(std::move(k));
    if (p.splits > 1) {
        append_combine(trace, s, p.splits, tensors, name);
    } else {
        append_idle_combine(trace, s, lengths, name);
    }
}

}  // namespace memwall::workload
