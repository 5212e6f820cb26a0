#include "workload/schedule.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

constexpr int kSkinnyRows = 64;       // m up to which the weights stream
constexpr int kFmaRows = 8;           // m up to which plain FMAs keep up with memory
constexpr int kSkinnyTilesPerSm = 8;
constexpr double kSkinnyRowBytes = 2048;  // one granule of the L2's address interleave
constexpr std::int64_t kSkinnyRingBytes = 128 << 10;
constexpr std::int64_t kEpilogueBytes = 16 << 10;  // the epilogue's staging tile, as in CUTLASS's TMA-store epilogues

double bytes_per(trace::Dtype dtype) { return trace::bits_of(dtype) / 8.0; }

std::int64_t stage_bytes(const GemmShape& s, const std::array<int, 3>& t) {
    return static_cast<std::int64_t>(t[0] * t[2] * bytes_per(s.dtype) + t[1] * t[2] * bytes_per(s.weights_dtype));
}

std::string stage_terms(const GemmShape& s, const std::array<int, 3>& t) {
    return fmt::format("{}x{} {} + {}x{} {}", t[0], t[2], trace::name_of(s.dtype), t[1], t[2], trace::name_of(s.weights_dtype));
}

void check_tile(const GemmShape& s, const std::array<int, 3>& t, bool skinny) {
    const int k_step = 32 * 8 / std::max(8, trace::bits_of(s.dtype));
    const std::string where = fmt::format("tile {}x{}x{}", t[0], t[1], t[2]);
    if (t[2] % k_step != 0) {
        throw InputError(where, fmt::format("k of {}", t[2]), fmt::format("a multiple of {}, the k of one {} wgmma", k_step, trace::name_of(s.dtype)));
    }
    if (skinny) {
        if (t[1] < 8 || t[1] % 8 != 0 || t[1] > 512) throw InputError(where, fmt::format("n of {}", t[1]), "a multiple of 8 up to 512 weight rows for m <= 64");
        return;
    }
    if (t[0] % 64 != 0 || t[0] > 256) throw InputError(where, fmt::format("m of {}", t[0]), "64, 128, 192 or 256: a wgmma has 64 rows");
    if (t[1] % 8 != 0 || t[1] < 8 || t[1] > 256) throw InputError(where, fmt::format("n of {}", t[1]), "a multiple of 8 up to 256: the n of a wgmma");
}

/// Cycles of one wave of a tile: its tensor work, or its loads at the L2's rate per SM (about 36 bytes per cycle to all SMs
/// together, REPRO on H100 SXM5), whichever is longer; plus the prologue and epilogue that a tile shows.
double wave_cycles(const GemmShape& s, const std::array<int, 3>& t, const device::Device& d) {
    const double rate = bytes_per(s.dtype) <= 1 ? d.tensor.flops_per_cycle_fp8 : d.tensor.flops_per_cycle_16bit;
    const double steps = static_cast<double>(ceil_div(s.k, t[2]));
    const double tensor = 2.0 * t[0] * t[1] * t[2] / rate;
    const double load = static_cast<double>(stage_bytes(s, t)) / 36.0;
    return steps * std::max(tensor, load) + 1500;
}

GemmSchedule skinny(const GemmShape& s, const ScheduleWish& wish, const device::Device& d) {
    GemmSchedule g{};
    g.skinny = true;
    const int rows = s.m <= kFmaRows ? 16 : 64;
    const int padded = static_cast<int>(ceil_div(s.m, 8) * 8);
    const auto k = static_cast<int>(std::min<std::int64_t>(ceil_div(s.k, 16) * 16, static_cast<std::int64_t>(kSkinnyRowBytes / bytes_per(s.weights_dtype))));
    g.tile = wish.tile.value_or(std::array<int, 3>{padded, rows, k});
    g.tile[0] = padded;
    check_tile(s, g.tile, true);
    g.stage_bytes = stage_bytes(s, g.tile);
    g.epilogue_bytes = 1024;
    const auto fit = static_cast<int>(std::max<std::int64_t>(2, kSkinnyRingBytes / g.stage_bytes));
    g.stages = wish.stages.value_or(std::min(8, fit));
    const std::int64_t tiles = ceil_div(s.n, g.tile[1]) * s.batch;
    const std::int64_t steps = ceil_div(s.k, g.tile[2]);
    const std::int64_t wanted = ceil_div(static_cast<std::int64_t>(kSkinnyTilesPerSm) * d.sms(), tiles);
    g.split = wish.split.value_or(static_cast<int>(std::clamp<std::int64_t>(wanted, 1, steps)));
    g.persistent = wish.persistent.value_or(true);
    return g;
}

GemmSchedule large(const GemmShape& s, const ScheduleWish& wish, const device::Device& d) {
    GemmSchedule g{};
    const int k = static_cast<int>(128 / bytes_per(s.dtype));  // one 128-byte swizzle row
    constexpr std::array<std::array<int, 2>, 5> kCandidates{{{128, 256}, {128, 128}, {64, 256}, {64, 128}, {64, 64}}};
    if (wish.tile) {
        g.tile = *wish.tile;
    } else {
        double best = std::numeric_limits<double>::max();
        for (const auto& c : kCandidates) {
            const std::array<int, 3> tile{c[0], c[1], k};
            const std::int64_t tiles = ceil_div(s.m, tile[0]) * ceil_div(s.n, tile[1]) * s.batch;
            const double cost = static_cast<double>(ceil_div(tiles, d.sms())) * wave_cycles(s, tile, d);
            if (cost < best * 0.999) {
                best = cost;
                g.tile = tile;
            }
        }
    }
    check_tile(s, g.tile, false);
    g.stage_bytes = stage_bytes(s, g.tile);
    g.epilogue_bytes = kEpilogueBytes;
    const auto fit = static_cast<int>((d.sm.smem_per_cta_max_bytes - g.epilogue_bytes) / g.stage_bytes);
    g.stages = wish.stages.value_or(std::clamp(fit, 1, 4));
    const std::int64_t tiles = ceil_div(s.m, g.tile[0]) * ceil_div(s.n, g.tile[1]) * s.batch;
    g.cluster = wish.cluster.value_or(ceil_div(s.m, g.tile[0]) % 2 == 0 && tiles >= d.sms() ? 2 : 1);
    const std::int64_t steps = ceil_div(s.k, g.tile[2]);
    g.split = wish.split.value_or(tiles * 2 <= d.sms() && steps >= 16 ? static_cast<int>(std::min<std::int64_t>(d.sms() / tiles, steps / 8)) : 1);
    g.persistent = wish.persistent.value_or(tiles * g.split > d.sms());
    g.panel = wish.panel.value_or(8);
    return g;
}

}  // namespace

void check_smem(const std::string& what, std::int64_t bytes, const std::string& terms, int stages, std::int64_t extra, const device::Device& device) {
    const std::int64_t total = bytes * stages + extra;
    if (stages < 1 || stages > 32) throw InputError(what, fmt::format("{} stages", stages), "1 to 32 stages");
    if (total <= device.sm.smem_per_cta_max_bytes) return;
    throw InputError(what, fmt::format("{} stages of {} bytes ({}) + {} bytes for the epilogue = {} bytes of shared memory", stages, bytes, terms, extra, total),
                     fmt::format("at most {} bytes per CTA (sm.smem_per_cta_max_bytes): {} stages", device.sm.smem_per_cta_max_bytes,
                                 (device.sm.smem_per_cta_max_bytes - extra) / bytes));
}

GemmSchedule choose_gemm(const GemmShape& shape, const ScheduleWish& wish, const device::Device& device) {
    const bool is_skinny = shape.m <= kSkinnyRows && !(wish.tile && (*wish.tile)[0] >= 64);
    GemmSchedule g = is_skinny ? skinny(shape, wish, device) : large(shape, wish, device);
    // Every split must have at least one step of k.
    const std::int64_t steps = ceil_div(shape.k, g.tile[2]);
    g.split = static_cast<int>(ceil_div(steps, ceil_div(steps, std::clamp<std::int64_t>(g.split, 1, steps))));
    check_smem(fmt::format("gemm with tile {}x{}x{}", g.tile[0], g.tile[1], g.tile[2]), g.stage_bytes, stage_terms(shape, g.tile), g.stages, g.epilogue_bytes, device);
    return g;
}

}  // namespace memwall::workload
