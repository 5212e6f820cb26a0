// The tiles that the GEMM is compiled for, and what each takes of shared memory: plain arithmetic, so that the list of
// cases is made, and tested, where there is no GPU.
#pragma once

#include <array>
#include <cstddef>

namespace memwall::kernels {

inline constexpr int kMostGemmStages = 8;
/// Shared memory of a CTA with the opt-in (CUDA C++ Programming Guide, compute capability 9.0).
inline constexpr std::size_t kSharedBytesOfCta = 232448;

struct GemmTileShape {
    int element_bytes;  ///< 2: bf16, 1: fp8
    int m, n, k;
    int cluster;            ///< CTAs along m that share B's tile by multicast
    bool recorded = false;  ///< compiled with the tile recorder too

    /// Consumer warpgroups: one for 64 rows, else two.
    [[nodiscard]] constexpr int groups() const { return m == 64 ? 1 : 2; }
    [[nodiscard]] constexpr std::size_t stage_bytes() const {
        return static_cast<std::size_t>(m + n) * static_cast<std::size_t>(k * element_bytes);
    }
    /// Two 64 x 64 blocks of C in bf16 on their way out for each group.
    [[nodiscard]] constexpr std::size_t out_bytes() const { return static_cast<std::size_t>(groups()) * 2 * 64 * 128; }
    [[nodiscard]] constexpr std::size_t smem_bytes(int stages) const {
        constexpr std::size_t kAlignment = 1024, kBarriers = 2 * kMostGemmStages * 8;
        return kAlignment + static_cast<std::size_t>(stages) * stage_bytes() + out_bytes() + kBarriers;
    }
    [[nodiscard]] constexpr bool fits(int stages) const {
        return stages >= 1 && stages <= kMostGemmStages && smem_bytes(stages) <= kSharedBytesOfCta;
    }
};

/// A swizzled row has 128 bytes of k: 64 elements of bf16, 128 of fp8; some tiles have two.
inline constexpr std::array kGemmTiles = {
    GemmTileShape{2, 128, 256, 64, 1, true}, GemmTileShape{2, 128, 256, 64, 2, true},
    GemmTileShape{2, 256, 128, 64, 1},       GemmTileShape{2, 256, 128, 64, 2},
    GemmTileShape{2, 128, 192, 64, 1},       GemmTileShape{2, 128, 192, 64, 2},
    GemmTileShape{2, 128, 128, 64, 1, true}, GemmTileShape{2, 128, 128, 64, 2},
    GemmTileShape{2, 128, 64, 64, 1},        GemmTileShape{2, 64, 256, 64, 1},
    GemmTileShape{2, 64, 128, 64, 1},        GemmTileShape{2, 64, 64, 64, 1, true},
    GemmTileShape{2, 128, 128, 128, 1},      GemmTileShape{2, 64, 128, 128, 1},
    GemmTileShape{2, 64, 64, 128, 1},        GemmTileShape{1, 128, 256, 128, 1},
    GemmTileShape{1, 128, 256, 128, 2},      GemmTileShape{1, 256, 128, 128, 1},
    GemmTileShape{1, 128, 128, 128, 1},      GemmTileShape{1, 128, 128, 128, 2},
    GemmTileShape{1, 64, 128, 128, 1},
};

/// Few rows: tokens are padded to what a wgmma's N side may be.
constexpr int padded_tokens(long long m) {
    return m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : 64;
}

/// Shared memory of a CTA of the few-rows kernel (path tma): a ring of weight tiles with their tokens, in bf16.
constexpr std::size_t skinny_smem_bytes(long long m, int tile_n, int tile_k, int stages) {
    constexpr std::size_t kAlignment = 1024, kBarriers = 2 * kMostGemmStages * 8;
    const auto rows = static_cast<std::size_t>(tile_n + padded_tokens(m));
    return kAlignment + static_cast<std::size_t>(stages) * rows * static_cast<std::size_t>(tile_k) * 2 + kBarriers;
}

}  // namespace memwall::kernels
