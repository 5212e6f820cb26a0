// How a kernel is scheduled: tile, stages, split, cluster, persistence. Chosen by a heuristic like that of a good
// library, unless the user says otherwise.
#pragma once

#include <array>
#include <cmath>
#include <optional>
#include <string>

#include "device/device.h"
#include "trace/trace.h"

namespace memwall::workload {

/// How a large product's results leave: through shared memory by the TMA, or by each thread from its accumulators, of
/// which a thread has two neighbours in a row: in one store, or one after the other.
enum class StoreBy : std::uint8_t { tma, vector, scalar };
StoreBy parse_store(const std::string& text, const std::string& where);

/// What the user asked for; empty fields are chosen.
struct ScheduleWish {
    std::optional<std::array<int, 3>> tile;
    std::optional<int> stages, split, cluster, panel;
    std::optional<bool> persistent, stream_k;
    std::optional<trace::LoadPath> path;
    std::optional<StoreBy> store;
};

struct GemmShape {
    std::int64_t m, n, k;
    std::int64_t batch = 1;
    trace::Dtype dtype = trace::Dtype::bf16;          ///< activations, and the arithmetic
    trace::Dtype weights_dtype = trace::Dtype::bf16;  ///< narrower: widened by the vector units
    trace::Dtype out_dtype = trace::Dtype::bf16;
};

/// Issue slots of a multiply-add on the lanes. A thread's outputs are a square, for each k of which loads of 16 bytes
/// bring two sides from shared memory: 8 x 8 need four loads for 64 multiply-adds.
inline double fma_slots(double outputs) {
    return 1 + 2 * std::sqrt(outputs) / 4 / outputs;
}
/// Bytes from shared memory for each k of a warpgroup's rows x columns: its warps have a quarter of the outputs each,
/// two by two, and lanes that need the same operand get it at once.
constexpr double fma_operand_bytes(double rows, double columns) {
    constexpr double kWarps = 4, kFp32Bytes = 4;
    return kWarps * (rows / 2 + columns / 2) * kFp32Bytes;
}

struct GemmSchedule {
    std::array<int, 3> tile;
    int stages;
    int split = 1;
    int cluster = 1;  ///< along m: the CTAs of a cluster share the weights' tile by multicast
    int panel = 0;    ///< rasterisation: m tiles per panel
    bool persistent = true;
    bool stream_k = false;  ///< equal runs of steps of k for all CTAs, whatever the number of tiles
    bool skinny = false;    ///< decode: the weights stream through a ring of their own
    bool fma = false;       ///< plain FMAs on the fp32 lanes: of fp32 products, which tensor cores do not take, and of
                            ///< skinny ones by their tile; else a wgmma, in skinny products with the weights on its m
                            ///< side (swap-AB)
    bool swapped = false;   ///< large: the same, tokens on the columns, of which a wgmma has any multiple of eight
    trace::LoadPath path = trace::LoadPath::tma;
    StoreBy store = StoreBy::tma;
    std::int64_t stage_bytes = 0;
    std::int64_t epilogue_bytes = 0;
    [[nodiscard]] std::int64_t smem_bytes() const { return stage_bytes * stages + epilogue_bytes; }
    /// The side of the tile that a wgmma has 64 of, and its other side.
    [[nodiscard]] int mma_rows() const { return tile[swapped ? 1 : 0]; }
    [[nodiscard]] int mma_columns() const { return tile[swapped ? 0 : 1]; }
    /// Consumer warpgroups, and the mma rows that each makes: 64 (one wgmma) or, in tiles of 256, 128.
    [[nodiscard]] int groups() const { return mma_rows() >= 256 ? 2 : mma_rows() / 64; }
    [[nodiscard]] int group_rows() const { return mma_rows() / groups(); }
    /// fp32 accumulators of one consumer thread.
    [[nodiscard]] int accumulators() const { return group_rows() * mma_columns() / 128; }
};

/// The heuristic:
///  - m <= 64 (decode): skinny. Weights lie on the m side of the wgmma (swap-AB, as cuBLAS, TensorRT-LLM and DeepGEMM
///    have it), 64 rows to a tile; a stage takes 2 KiB of a row, a granule of the L2's address interleave, or less
///    where fewer than three stages would fit beside the tokens. Up to 16 rows k is split until the tiles fill the
///    chip, beyond only where that pays. A wish for another number of weight rows gets plain FMAs, which need no
///    padding. fp32 products are skinny up to 16 rows.
///  - fp32 products run on the fp32 lanes, as cuBLAS's do where tf32 is not allowed, in tiles of whole 32 tokens.
///  - else the candidate tile, cluster of 1 or 2 along m, and split of k with the fewest cycles by wave arithmetic: a
///    step costs its tensor time or its bytes at the SM's port, whichever is longer. A large product comes out at
///    128x256x64, four stages, two consumer warpgroups and clusters of two that share the weights' tile by multicast:
///    the schedule that CUTLASS and cuBLAS use for it on Hopper. Where tokens leave a remainder in rows of 64,
///    candidates with tokens on the columns, of any multiple of eight, usually win.
///  - persistent when there is more than one wave; rasterised in panels of 16 m tiles; as many stages as fit, up to 16.
///  - Stream-K only where it is asked for, without a split.
/// A wish that does not fit shared memory or the registers, or makes no sense, is refused with the arithmetic
/// (InputError).
GemmSchedule choose_gemm(const GemmShape& shape, const ScheduleWish& wish, const device::Device& device);

/// Clusters among which Stream-K deals out a product: as many as are resident, or fewer where each would get less than
/// a few steps of k.
std::int64_t stream_k_units(const GemmShape& shape, const GemmSchedule& schedule, const device::Device& device);

/// CTAs that are resident at a time with one per SM: whole clusters only, and a cluster lies in one GPC.
int resident_ctas(const device::Device& device, int cluster);

/// Throws InputError with the arithmetic when `stages` of `stage_bytes` and `extra` exceed a CTA's shared memory.
void check_smem(const std::string& what, std::int64_t stage_bytes, const std::string& stage_terms, int stages,
                std::int64_t extra, const device::Device& device);

}  // namespace memwall::workload
