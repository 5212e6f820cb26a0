#include "workload/flash_attention.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "workload/online_softmax.h"
#include "workload/steps.h"

namespace memwall::workload {

FlashTile flash_tile(std::int64_t head_dim, trace::Dtype dtype, bool causal, bool short_pages) {
    if (trace::bits_of(dtype) <= 8) {
        if (head_dim <= 64) return {192, 160};
        if (head_dim <= 96) return {192, 128};
        if (head_dim <= 128) return {128, short_pages ? 160 : 224};
        return {128, head_dim <= 192 ? 160 : 128};
    }
    if (head_dim <= 64) return {192, causal ? 128 : short_pages ? 160 : 192, !causal};
    if (head_dim <= 96) return {192, short_pages ? 128 : 144, true};
    if (head_dim <= 128) return {128, causal || short_pages ? 128 : 176};
    if (head_dim <= 192) return {128, short_pages ? 96 : 112};
    return {128, 80};
}

FlashTile checked_tile(const std::string& where, FlashTile tile, std::int64_t rows) {
    constexpr std::int64_t kMostWarpgroups = 3, kKeyStep = 16, kMostKeys = 256;
    if (tile.rows < rows || tile.rows % kWarpgroupRows != 0 || tile.rows < kWarpgroupRows ||
        tile.rows > kMostWarpgroups * kWarpgroupRows) {
        throw InputError(where, fmt::format("{} rows of queries", tile.rows),
                         fmt::format("64, 128 or 192 that hold the {} queries of a KV head", rows));
    }
    if (tile.keys % kKeyStep != 0 || tile.keys < kKeyStep || tile.keys > kMostKeys)
        throw InputError(where, fmt::format("{} keys", tile.keys), "a multiple of 16 up to 256");
    return tile;
}

int flash_registers(int consumers) {
    constexpr int kMost = 240;  // a thread's, as the compiler's limit is 255
    constexpr int kThreads = 128, kRegisters = 65536, kUnit = 8;
    return std::min(kMost, kRegisters / (kThreads * (consumers + 1)) / kUnit * kUnit);
}

FlashSteps flash_steps(const AttentionShape& s, const FlashTile& tile) {
    const auto dim = static_cast<int>(s.head_dim), keys = static_cast<int>(tile.keys);
    const double scores = static_cast<double>(kWarpgroupRows) * keys,
                 outputs = static_cast<double>(kWarpgroupRows) * dim;
    const double stored = static_cast<double>(tile.p_bytes(s.dtype)) / tile.warpgroups();
    const double fence = tile.p_in_smem ? kFenceLatency : 0;
    return {mma({kWarpgroupRows, keys, dim, s.dtype, false}),
            mma({kWarpgroupRows, dim, keys, s.dtype, !tile.p_in_smem}),
            vector({scores * kMaximumOps, 0, 0, kReduceLatency}),
            vector({scores * kExponentialOps, scores, 0, 0}),
            vector({scores * kConvertOps, 0, stored, fence}),
            vector({scores * kConvertOps + outputs, 0, stored, fence})};
}

trace::Step FlashScratch::length(int lookup, const Affine& batch, int ring) const {
    return move(StepKind::load, ring, lengths, {lookup, batch, 0}, {1, 1, kSectorBytes / 4}, trace::LoadPath::plain);
}

trace::Step FlashScratch::pages(const Affine& batch, const Affine& tile, int ring) const {
    return move(StepKind::load, ring, page_table, {batch, tile * entries}, {1, entries}, trace::LoadPath::plain);
}

FlashScratch add_flash_scratch(trace::Trace& trace, const AttentionShape& s, std::int64_t keys,
                               const std::string& name) {
    constexpr auto kWord = trace::Dtype::fp32;  // lengths and pages are integers as wide
    FlashScratch scratch;
    scratch.lengths = trace.add_tensor(name + ".lengths", kWord, {kFlashLookups, s.batch, kSectorBytes / 4});
    if (s.page > 0) {
        scratch.entries = ceil_div(keys, s.page);
        scratch.page_table =
            trace.add_tensor(name + ".page_table", kWord, {s.batch, ceil_div(s.kv, keys) * scratch.entries});
    }
    return scratch;
}

void append_flash_schedule(trace::Trace& trace, const AttentionShape& s, const FlashScratch& scratch,
                           const std::string& op, const std::string& name) {
    constexpr int kScheduleWarps = 8;
    // hopper/flash_prepare_scheduler.cu: one CTA, a lane for a sequence. It sums their tiles and tells each its splits.
    trace::Kernel k;
    k.name = name + ".schedule";
    k.op = op;
    k.work.names = {"", "", "", ""};
    k.work.extent = {1, 1, 1, 1};
    k.ctas = 1;
    k.registers_per_thread = 32;
    k.math_dtype = trace::Dtype::fp32;
    k.rings = {{"lengths", 1, s.batch * kSectorBytes, 1, true}};
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency)};
    look_up(steps, move(StepKind::load, 0, scratch.lengths, {1, 0, 0}, {1, s.batch, 1}, trace::LoadPath::plain));
    append(steps, {vector({static_cast<double>(s.batch) * 40, 0, 0, kReductionCycles}),
                   move(StepKind::store, -1, scratch.lengths, {0, 0, 0}, {1, s.batch, 1}, trace::LoadPath::plain),
                   simple(StepKind::wait_stores)});
    k.roles = {{"threads", 1, kScheduleWarps, std::move(steps)}};
    trace.kernels.push_back(std::move(k));
}

}  // namespace memwall::workload
