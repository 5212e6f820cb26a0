#include "workload/schedule.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/error.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

constexpr int kSkinnyRows = 64;  // m up to which the weights stream
constexpr int kLaneRows = 16;    // the same of fp32 products: beyond, a weight read once no longer pays for its FMAs
constexpr int kSkinnyTileRows = 64;  // of the weights: the m of a wgmma
// Up to here cuBLAS splits k until its tiles fill the chip: "nvjet_tst_64x8_64x16_2x1_v_bz_splitK" with a grid of 2 x
// 64 for 6 x 4096 x 10944 (a published trace), and a fold. Its times drop by a fold's from 16 rows to 17 where n is
// 4096.
constexpr int kSplitRows = 16;
constexpr std::int64_t kLeastSplitBytes = 512;    // of a weight row that a split leaves: four of its stages
constexpr std::int64_t kSkinnyPieceBytes = 2048;  // of a weight row: one granule of the L2's address interleave
constexpr std::int64_t kSkinnyRingBytes = 192 << 10;
constexpr int kSkinnyStages = 3;  // at least
constexpr int kWideRows = 8;      // of activations: of more, three stages of 1 KiB do not fit at 16 bits
constexpr int kLeastWideSteps = 4;
constexpr std::int64_t kEpilogueBytes = 16 << 10;  // the epilogue's staging tile, as in CUTLASS's TMA-store epilogues
constexpr std::int64_t kSkinnyEpilogueBytes = 1024;
constexpr int kMostStages = 16;  // of cuBLAS kernels for few rows: "64x8_64x16" says 16 stages of 64 elements
constexpr int kPanel = 16;       // m tiles: 16 x 8 tiles of 128x256 are one wave whose A and B are equally large
constexpr std::int64_t kLeastStreamed = 8 * 64;  // of k for a unit: CUTLASS's min_iters_per_sk_unit_ in steps of 64
constexpr double kSmallerTileEarns = 0.95;
constexpr int kMostSwappedWaves = 8;     // beyond, what the last one leaves idle is less than such tiles' reads cost
constexpr int kMostOutputs = 320 * 128;  // of a tile: cuBLAS's largest, "nvjet_tst_320x128_64x3_1x2_h_bz_coopB_TNT"
constexpr int kMaxAccumulators = 208;    // of the 255 registers that a thread can address

double bytes_per(trace::Dtype dtype) {
    return trace::bits_of(dtype) / 8.0;
}

/// k of one wgmma: 32 bytes of either operand (PTX ISA).
int k_step(const GemmShape& s) {
    return 32 * 8 / std::max(8, trace::bits_of(s.dtype));
}

/// Tensor cores have no product of fp32 operands.
bool on_lanes(const GemmShape& s) {
    return s.dtype == trace::Dtype::fp32;
}

std::string text_of(const std::array<int, 3>& t) {
    return fmt::format("{}x{}x{}", t[0], t[1], t[2]);
}

std::int64_t weight_bytes(const GemmShape& s, const std::array<int, 3>& t) {
    return static_cast<std::int64_t>(t[1]) * t[2] * trace::bits_of(s.weights_dtype) / 8;
}

std::int64_t stage_bytes(const GemmShape& s, const std::array<int, 3>& t) {
    return static_cast<std::int64_t>(t[0]) * t[2] * trace::bits_of(s.dtype) / 8 + weight_bytes(s, t);
}

std::string stage_terms(const GemmShape& s, const std::array<int, 3>& t) {
    return fmt::format("{}x{} {} + {}x{} {}", t[0], t[2], trace::name_of(s.dtype), t[1], t[2],
                       trace::name_of(s.weights_dtype));
}

/// Whether a tile is one with tokens on the columns: only that side is no multiple of 64.
bool is_swapped(const std::array<int, 3>& t) {
    return t[0] % 64 != 0 && t[1] % 64 == 0;
}

void check_tile(const GemmShape& s, const std::array<int, 3>& t, bool skinny) {
    const std::string where = "tile " + text_of(t);
    if (t[2] < 1 || t[2] % k_step(s) != 0) {
        throw InputError(
            where, fmt::format("k of {}", t[2]),
            fmt::format("a multiple of {}: 32 bytes of {}, the k of a wgmma", k_step(s), trace::name_of(s.dtype)));
    }
    if (skinny) {
        if (t[1] < 8 || t[1] % 8 != 0 || t[1] > 512) {
            throw InputError(where, fmt::format("n of {}", t[1]), "a multiple of 8 up to 512 weight rows for m <= 64");
        }
        return;
    }
    const bool swapped = is_swapped(t);
    const int rows = t[swapped ? 1 : 0], columns = t[swapped ? 0 : 1];
    if (rows < 64 || rows % 64 != 0 || rows > 256) {
        throw InputError(where, fmt::format("{} of {}", swapped ? "n" : "m", rows),
                         "64, 128, 192 or 256 of m or of n: a warpgroup has 64 rows");
    }
    if (columns < 8 || columns % 8 != 0 || columns > 256) {
        throw InputError(where, fmt::format("{} of {}", swapped ? "m" : "n", columns),
                         "a multiple of 8 up to 256: the columns that a warpgroup holds");
    }
}

void check_accumulators(const GemmSchedule& g) {
    if (g.accumulators() <= kMaxAccumulators) return;
    throw InputError("tile " + text_of(g.tile),
                     fmt::format("{}x{} fp32 accumulators over {} warpgroups = {} registers a thread", g.tile[0],
                                 g.tile[1], g.groups(), g.accumulators()),
                     fmt::format("at most {} of the 255 registers of a thread", kMaxAccumulators));
}

void check_wish(const ScheduleWish& wish) {
    const auto positive = [](const char* key, const std::optional<int>& value, int most) {
        if (value && (*value < 1 || *value > most)) {
            throw InputError(fmt::format("gemm schedule, {}", key), std::to_string(*value),
                             fmt::format("1 to {}", most));
        }
    };
    positive("split", wish.split, 1 << 16);
    if (wish.stream_k.value_or(false) && wish.split.value_or(1) > 1)
        throw InputError("gemm schedule, split", std::to_string(*wish.split),
                         "1 with stream_k, which cuts k by itself");
    if (wish.stream_k.value_or(false) && !wish.persistent.value_or(true))
        throw InputError("gemm schedule, persistent", "false", "true with stream_k, whose CTAs wait for one another");
    positive("panel", wish.panel, 1 << 16);
    if (wish.cluster && *wish.cluster != 1 && *wish.cluster != 2 && *wish.cluster != 4 && *wish.cluster != 8) {
        throw InputError("gemm schedule, cluster", std::to_string(*wish.cluster), "1, 2, 4 or 8 CTAs along m");
    }
}

/// The most work that one of `slots` gets when `items` are dealt out in turn.
std::int64_t rounds(std::int64_t items, std::int64_t slots) {
    return ceil_div(items, slots);
}

/// Bytes per SM cycle that each SM gets when all read from L2 together.
double l2_rate(const device::Device& d) {
    return d.floorplan.gpc_crossbar.bytes_per_cycle_back * d.gpcs() / d.sms();
}

double hbm_cycles(const GemmShape& s, const device::Device& d) {
    const double elements = static_cast<double>(s.batch);
    const double bytes = elements * (static_cast<double>(s.m * s.k) * bytes_per(s.dtype) +
                                     static_cast<double>(s.n * s.k) * bytes_per(s.weights_dtype) +
                                     static_cast<double>(s.m * s.n) * bytes_per(s.out_dtype));
    return bytes / d.hbm.peak_gbps() * d.clocks.sm_mhz * 1e-3;
}

/// Cycles that a split costs: the fp32 partial sums on their way into L2 and out again, every SM at its share of the
/// networks' width, and the second kernel's start, two accesses and end.
double fold_cycles(const GemmShape& s, int split, const device::Device& d) {
    if (split == 1) return 0;
    constexpr double kAccesses = 2 * 350;            // a load from either half of L2, a store
    constexpr double kPayload = 128.0 / (128 + 32);  // of what a store brings to the network: lines have headers
    const double bytes = 4.0 * static_cast<double>(s.m * s.n * s.batch) * split;
    const double written = bytes / (d.floorplan.gpc_crossbar.bytes_per_cycle * kPayload * d.gpcs());
    const double read = bytes / (l2_rate(d) * d.sms());
    return written + read + d.launch.graph_gap_us * d.clocks.sm_mhz + d.launch.cta_start_cycles +
           d.launch.cta_exit_cycles + kAccesses;
}

/// k elements of a skinny stage: a granule of each weight row, or less, so that three stages fit.
int skinny_k(const GemmShape& s, int padded, int rows) {
    const std::int64_t whole = ceil_div(s.k, k_step(s)) * k_step(s);
    auto k = kSkinnyPieceBytes * 8 / trace::bits_of(s.weights_dtype);
    while (k > 8 * k_step(s) &&
           stage_bytes(s, {padded, rows, static_cast<int>(k)}) * kSkinnyStages > kSkinnyRingBytes) {
        k /= 2;
    }
    return static_cast<int>(std::min(whole, k));
}

/// Twice the k of `tile` for very few rows, where three such stages fit, every split keeps its share of k and has steps
/// enough to hide all but the first. cuBLAS's stages are 128 bytes of a row and many are on their way together, so that
/// memory sees pieces as long as what is in flight; a third fewer events save the simulator nearly half its time.
std::array<int, 3> widened(const GemmShape& s, std::array<int, 3> tile, int split, const device::Device& d) {
    const std::array<int, 3> wide{tile[0], tile[1], 2 * tile[2]};
    const auto share = [&](const std::array<int, 3>& t) { return ceil_div(ceil_div(s.k, t[2]), split) * t[2]; };
    const bool same_work = share(wide) == share(tile) && share(wide) >= std::int64_t{kLeastWideSteps} * wide[2];
    const bool fits = stage_bytes(s, wide) * kSkinnyStages + kSkinnyEpilogueBytes <= d.sm.smem_per_cta_max_bytes;
    return s.m <= kWideRows && same_work && fits ? wide : tile;
}

/// As many stages as the ring holds, and three where these fit in the shared memory of a CTA at all.
int skinny_stages(std::int64_t stage_bytes, const device::Device& d) {
    const bool three = kSkinnyStages * stage_bytes + kSkinnyEpilogueBytes <= d.sm.smem_per_cta_max_bytes;
    return static_cast<int>(
        std::clamp<std::int64_t>(kSkinnyRingBytes / stage_bytes, three ? kSkinnyStages : 2, kMostStages));
}

/// Cycles in which the chip streams `shares` equal parts of the weights, dealt to SMs in rounds: at the memory's rate
/// while enough SMs read, at what one SM can have when few are left with a part. A part is `weights` bytes from memory
/// and `all` bytes with the activations.
double stream_cycles(std::int64_t shares, double weights, double all, const device::Device& d) {
    // Of a TMA load from memory that does not queue there; where they queue, memory's own rate decides.
    constexpr double kLatency = 755;  // cycles: 650 for a plain load, 105 more by TMA (HPMLL, H800 PCIe)
    const double memory = d.hbm.peak_gbps() * 1e3 / d.clocks.sm_mhz;  // bytes per cycle
    const double one_sm = std::min(d.sm.lsu_bytes_per_cycle, d.tma.requests_in_flight * d.l2.line_bytes / kLatency);
    const auto round = [&](std::int64_t sms) {
        return sms == 0 ? 0 : std::max(static_cast<double>(sms) * weights / memory, all / one_sm);
    };
    const std::int64_t whole_rounds = shares / d.sms();
    return static_cast<double>(whole_rounds) * round(d.sms()) + round(shares % d.sms());
}

/// Split of k for a tile of 64 weight rows.
int skinny_split(const GemmShape& s, const std::array<int, 3>& tile, const device::Device& d) {
    const std::int64_t tiles = ceil_div(s.n, tile[1]) * s.batch;
    const std::int64_t steps = ceil_div(s.k, tile[2]);
    if (s.m <= kSplitRows) {
        const std::int64_t least = kLeastSplitBytes * 8 / trace::bits_of(s.weights_dtype);
        const std::int64_t most = std::min({steps, s.k / least, d.sms() / tiles});
        return static_cast<int>(std::max<std::int64_t>(1, most));
    }
    double best = std::numeric_limits<double>::max();
    int chosen = 1;
    for (int split = 1; split <= std::min<std::int64_t>(32, steps); ++split) {
        const auto share = static_cast<double>(ceil_div(steps, split));
        const double cost = stream_cycles(tiles * split, share * static_cast<double>(weight_bytes(s, tile)),
                                          share * static_cast<double>(stage_bytes(s, tile)), d) +
                            fold_cycles(s, split, d);
        if (cost >= best * 0.98) continue;
        best = cost;
        chosen = split;
    }
    return chosen;
}

GemmSchedule skinny(const GemmShape& s, const ScheduleWish& wish, const device::Device& d) {
    GemmSchedule g{};
    g.skinny = true;
    g.fma = on_lanes(s) || (wish.tile && (*wish.tile)[1] % kSkinnyTileRows != 0);
    const int padded = static_cast<int>(g.fma ? s.m : ceil_div(s.m, 8) * 8);
    g.tile = {padded, kSkinnyTileRows, skinny_k(s, padded, kSkinnyTileRows)};
    if (wish.tile) g.tile = {padded, (*wish.tile)[1], (*wish.tile)[2]};
    check_tile(s, g.tile, true);
    g.stream_k = wish.stream_k.value_or(false);
    g.split = wish.split ? *wish.split : wish.tile || g.stream_k ? 1 : skinny_split(s, g.tile, d);
    if (!wish.tile && !wish.stages) g.tile = widened(s, g.tile, g.split, d);
    g.stage_bytes = stage_bytes(s, g.tile);
    g.epilogue_bytes = kSkinnyEpilogueBytes;
    g.stages = wish.stages.value_or(skinny_stages(g.stage_bytes, d));
    g.persistent = wish.persistent.value_or(true);
    return g;
}

/// Cycles of a large product by wave arithmetic. One wgmma of 64 rows and n columns takes n/2 cycles at 16 bits, or
/// what its operands take to be read from shared memory, whichever is longer (Luo et al., 2501.12084, fits n = 8 to
/// 256).
double large_cycles(const GemmShape& s, const GemmSchedule& g, const device::Device& d) {
    constexpr double kShown = 1500;  // prologue and epilogue that a tile shows: a first load, a drain, a store
    const std::array<int, 3>& t = g.tile;
    const int rows = g.mma_rows(), columns = g.mma_columns();
    const double rate = g.fma                     ? 2.0 * d.sm.fp32_ops_per_cycle / fma_slots(g.accumulators())
                        : bytes_per(s.dtype) <= 1 ? d.tensor.flops_per_cycle_fp8
                        : bytes_per(s.dtype) > 2  ? d.tensor.flops_per_cycle_tf32
                                                  : d.tensor.flops_per_cycle_16bit;
    const double k_steps = static_cast<double>(t[2]) / k_step(s);
    const double instructions = rows / 64.0 * k_steps;
    const double tensor = instructions * 2 * 64 * columns * k_step(s) / rate;
    // Shared memory gives the operands and takes the next stage through the same port.
    const double operands =
        g.fma ? g.groups() * fma_operand_bytes(g.group_rows(), columns) * t[2] : instructions * (64 + columns) * 32;
    const double landing = g.path == trace::LoadPath::tma ? d.sm.smem_bytes_per_cycle : d.sm.async_copy_bytes_per_cycle;
    const double port = operands / d.sm.smem_bytes_per_cycle + static_cast<double>(stage_bytes(s, t)) / landing;
    // Neighbours ask for the same tiles, whose requests are joined on the way to L2: the SM's own port is what counts.
    const double load = static_cast<double>(stage_bytes(s, t)) / d.floorplan.sm_tpc.bytes_per_cycle_back;
    const std::int64_t steps = ceil_div(ceil_div(s.k, t[2]), g.split);
    const std::int64_t items = ceil_div(s.m, t[0]) * ceil_div(s.n, t[1]) * s.batch * g.split;
    const std::int64_t resident = resident_ctas(d, g.cluster);
    const double waves = g.stream_k ? static_cast<double>(items) / static_cast<double>(resident)
                                    : static_cast<double>(rounds(items, resident));
    const double busy = waves * (static_cast<double>(steps) * std::max({tensor, port, load}) + kShown);
    // What memory binds anyway still prefers the schedule that is idler. The fold comes when memory has been read.
    return std::max(busy, hbm_cycles(s, d)) + 0.1 * busy + fold_cycles(s, g.split, d);
}

/// Columns of the narrowest tile with which all tiles of a product run in so many waves, or 0 where none is narrow
/// enough: `down` tiles lie one way, and the other way is `extent` long. cuBLAS has kernels for every eight columns
/// (its nvjet kernels say so in their names); those for the lanes are names of multiples of 32 ("sgemm_32x32",
/// "128x64").
int columns_for_waves(const GemmShape& s, std::int64_t down, std::int64_t extent, int waves, const device::Device& d) {
    const std::int64_t across = d.sms() * waves / down;
    if (across == 0) return 0;
    const int granule = on_lanes(s) ? 32 : 8;
    const std::int64_t columns = ceil_div(ceil_div(extent, across), granule) * granule;
    return columns >= 16 && columns <= 256 ? static_cast<int>(columns) : 0;
}

/// Results leave from the accumulators: a thread's neighbours must be of one row of C, and final.
bool stores_directly(const ScheduleWish& wish) {
    return wish.store.value_or(StoreBy::tma) != StoreBy::tma;
}

std::vector<std::array<int, 3>> large_tiles(const GemmShape& s, const ScheduleWish& wish, const device::Device& d) {
    if (wish.tile) return {*wish.tile};
    const int k = static_cast<int>(128 / bytes_per(s.dtype));  // one 128-byte swizzle row
    std::vector<std::array<int, 3>> tiles;
    for (const auto& [m, n] : {std::pair{128, 256},
                               {256, 128},
                               {192, 192},
                               {128, 192},
                               {128, 128},
                               {128, 64},
                               {64, 256},
                               {64, 128},
                               {64, 64}}) {
        tiles.push_back({m, n, k});
    }
    for (const int rows : {128, 64}) {
        const int columns = columns_for_waves(s, ceil_div(s.m, rows) * s.batch, s.n, 1, d);
        if (columns > 0) tiles.push_back({rows, columns, k});
    }
    if (stores_directly(wish)) return tiles;
    // Tokens on the columns, where their number is a little more than tiles of 64 rows hold.
    for (const int rows : {256, 192, 128, 64}) {
        for (int waves = 1; waves <= kMostSwappedWaves; ++waves) {
            const int columns = columns_for_waves(s, ceil_div(s.n, rows) * s.batch, s.m, waves, d);
            if (columns % 64 != 0 && rows * columns <= kMostOutputs) tiles.push_back({columns, rows, k});
        }
    }
    return tiles;
}

std::vector<int> large_splits(const GemmShape& s, const GemmSchedule& g, const ScheduleWish& wish,
                              const device::Device& d) {
    if (wish.split) return {*wish.split};
    std::vector<int> splits = {1};
    if (g.stream_k || stores_directly(wish)) return splits;
    const std::int64_t tiles = ceil_div(s.m, g.tile[0]) * ceil_div(s.n, g.tile[1]) * s.batch;
    const std::int64_t steps = ceil_div(s.k, g.tile[2]);
    for (int split = 2; split <= 16 && tiles * split <= d.sms() && steps / split >= 8; ++split) splits.push_back(split);
    return splits;
}

GemmSchedule large(const GemmShape& s, const ScheduleWish& wish, const device::Device& d) {
    GemmSchedule best{};
    double fewest = std::numeric_limits<double>::max();
    for (const auto& tile : large_tiles(s, wish, d)) {
        check_tile(s, tile, false);
        GemmSchedule g{};
        g.tile = tile;
        g.path = wish.path.value_or(trace::LoadPath::tma);
        g.fma = on_lanes(s);
        g.swapped = is_swapped(tile);
        g.stream_k = wish.stream_k.value_or(false);
        const bool pairs = ceil_div(s.m, tile[0]) % 2 == 0;
        // Where nothing else tells them apart, the pair that fetches its weights once.
        const std::vector<int> clusters = wish.cluster ? std::vector{*wish.cluster}
                                          : pairs      ? std::vector{2, 1}
                                                       : std::vector{1};
        for (const int split : large_splits(s, g, wish, d)) {
            for (const int cluster : clusters) {
                g.split = split;
                g.cluster = cluster;
                const double cycles = large_cycles(s, g, d);
                // Candidates come with the largest first. A smaller tile reads more, which whole waves do not see: it
                // must earn more than another cluster or split of the same tile, or than a split of any.
                const bool must_earn = g.tile != best.tile && best.split == 1;
                if (cycles >= fewest * (must_earn ? kSmallerTileEarns : 0.999)) continue;
                fewest = cycles;
                best = g;
            }
        }
    }
    best.stage_bytes = stage_bytes(s, best.tile);
    best.epilogue_bytes = stores_directly(wish) ? 0 : kEpilogueBytes;
    const auto fit = (d.sm.smem_per_cta_max_bytes - best.epilogue_bytes) / best.stage_bytes;
    best.stages = wish.stages.value_or(static_cast<int>(std::clamp<std::int64_t>(fit, 1, kMostStages)));
    const std::int64_t items = ceil_div(s.m, best.tile[0]) * ceil_div(s.n, best.tile[1]) * s.batch * best.split;
    best.persistent = best.stream_k || wish.persistent.value_or(items > resident_ctas(d, best.cluster));
    best.panel = wish.panel.value_or(kPanel);
    return best;
}

}  // namespace

std::int64_t stream_k_units(const GemmShape& s, const GemmSchedule& g, const device::Device& device) {
    const std::int64_t units = resident_ctas(device, g.cluster) / g.cluster;
    const std::int64_t tiles = ceil_div(ceil_div(s.m, g.tile[0]), g.cluster) * ceil_div(s.n, g.tile[1]) * s.batch;
    if (tiles >= units) return units;
    const std::int64_t steps = tiles * ceil_div(s.k, g.tile[2]);
    return std::clamp(steps / ceil_div(kLeastStreamed, g.tile[2]), tiles, units);
}

int resident_ctas(const device::Device& device, int cluster) {
    int ctas = 0;
    for (const int sms : device.floorplan.sms_per_gpc) ctas += sms / cluster * cluster;
    return ctas;
}

void check_smem(const std::string& what, std::int64_t bytes, const std::string& terms, int stages, std::int64_t extra,
                const device::Device& device) {
    const std::int64_t total = bytes * stages + extra;
    if (stages < 1 || stages > 32) throw InputError(what, fmt::format("{} stages", stages), "1 to 32 stages");
    const std::int64_t most = device.sm.smem_per_cta_max_bytes;
    if (total <= most) return;
    const std::int64_t fit = std::max<std::int64_t>(0, (most - extra) / bytes);
    throw InputError(
        what,
        fmt::format("{} bytes per stage ({}) x {} stages + {} bytes for the epilogue = {} bytes of shared "
                    "memory",
                    bytes, terms, stages, extra, total),
        fmt::format("at most {} bytes per CTA (sm.smem_per_cta_max_bytes): {} stages of this tile", most, fit));
}

StoreBy parse_store(const std::string& text, const std::string& where) {
    if (text == "tma") return StoreBy::tma;
    if (text == "vector") return StoreBy::vector;
    if (text == "scalar") return StoreBy::scalar;
    throw InputError(where, "\"" + text + "\"", "tma, vector or scalar");
}

GemmSchedule choose_gemm(const GemmShape& shape, const ScheduleWish& wish, const device::Device& device) {
    check_wish(wish);
    const bool lanes_bind = on_lanes(shape) && shape.m > kLaneRows && (!wish.tile || is_swapped(*wish.tile));
    const bool is_skinny = shape.m <= kSkinnyRows && !lanes_bind && !(wish.tile && (*wish.tile)[0] >= 64);
    GemmSchedule g = is_skinny ? skinny(shape, wish, device) : large(shape, wish, device);
    g.path = wish.path.value_or(trace::LoadPath::tma);
    if (g.path != trace::LoadPath::tma) g.cluster = 1;  // only the TMA multicasts
    g.store = wish.store.value_or(StoreBy::tma);
    if (g.store != StoreBy::tma && (g.skinny || g.swapped || g.fma || g.split > 1 || g.stream_k))
        throw InputError("gemm schedule, store", "vector or scalar",
                         "tma where k is split, or where a thread's neighbours are not of one row of C: on the lanes, "
                         "with tokens on the columns, at few rows");
    // Every split must have at least one step of k.
    const std::int64_t steps = ceil_div(shape.k, g.tile[2]);
    g.split = static_cast<int>(ceil_div(steps, ceil_div(steps, std::clamp<std::int64_t>(g.split, 1, steps))));
    check_smem("gemm with tile " + text_of(g.tile), g.stage_bytes, stage_terms(shape, g.tile), g.stages,
               g.epilogue_bytes, device);
    if (!g.skinny) check_accumulators(g);
    return g;
}

}  // namespace memwall::workload
