// How a kernel is scheduled: tile, stages, split, cluster, persistence. Chosen by a heuristic like that of a good library,
// unless the user says otherwise.
#pragma once

#include <array>
#include <optional>

#include "device/device.h"
#include "trace/trace.h"

namespace memwall::workload {

/// What the user asked for; empty fields are chosen.
struct ScheduleWish {
    std::optional<std::array<int, 3>> tile;
    std::optional<int> stages, split, cluster, panel;
    std::optional<bool> persistent;
};

struct GemmShape {
    std::int64_t m, n, k;
    std::int64_t batch = 1;
    trace::Dtype dtype = trace::Dtype::bf16;          ///< activations, and the arithmetic
    trace::Dtype weights_dtype = trace::Dtype::bf16;  ///< narrower: widened by the vector units
    trace::Dtype out_dtype = trace::Dtype::bf16;
};

struct GemmSchedule {
    std::array<int, 3> tile;
    int stages;
    int split = 1;
    int cluster = 1;      ///< along m: the CTAs of a cluster share the weights' tile
    int panel = 0;        ///< rasterisation: m tiles per panel
    bool persistent = true;
    bool skinny = false;  ///< weights on the wgmma's M side (swap-AB), or plain FMAs for the fewest rows
    std::int64_t stage_bytes = 0;
    std::int64_t epilogue_bytes = 0;
    [[nodiscard]] std::int64_t smem_bytes() const { return stage_bytes * stages + epilogue_bytes; }
};

/// The heuristic:
///  - m <= 64 (decode): skinny. Tile 16 weight rows (64 with m > 8, wgmma's M) by 1,024 k, so that a row's piece is 2 KiB of
///    consecutive bytes; as many stages as 128 KiB hold; split-K until every SM has about eight tiles, because a static
///    deal of few tiles leaves SMs idle at the end.
///  - else: 128x256x64 with four stages, two consumer warpgroups and clusters of two along m that share the weights'
///    tile by multicast (the schedule of cuBLAS and CUTLASS for large products on Hopper), when it makes at least a wave;
///    else the candidate of {128x256, 128x128, 64x256, 64x128, 64x64} with the fewest wave-cycles, a wave costing its
///    tile's tensor time or the bytes that it must load, whichever is longer; split-K when even that leaves SMs without work.
///  - persistent when there is more than one wave; rasterised in panels of 8 m tiles.
/// A wish that does not fit shared memory or makes no sense is refused with the arithmetic (InputError).
GemmSchedule choose_gemm(const GemmShape& shape, const ScheduleWish& wish, const device::Device& device);

/// Throws InputError with the arithmetic when `stages` of `stage_bytes` and `extra` exceed a CTA's shared memory.
void check_smem(const std::string& what, std::int64_t stage_bytes, const std::string& stage_terms, int stages, std::int64_t extra,
                const device::Device& device);

}  // namespace memwall::workload
