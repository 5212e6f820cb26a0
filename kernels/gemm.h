// C[m,n] = A[m,k] x B[n,k]^T on the tensor cores: both operands with k contiguous, as a linear layer has them; C in
// bf16.
//
// One warp-specialised kernel: a producer warp brings tiles by TMA into a ring of stages, consumer warpgroups multiply
// them with wgmma. What an architect would turn is an argument: tile, stages, cluster multicast, split of k, order.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <string>

#include "host.h"

namespace memwall::kernels {

struct TileLog;  // recorder.h

struct GemmProblem {
    std::int64_t m, n, k;
    Dtype dtype;    ///< of A and B: bf16 or fp8 (fp32 accumulation)
    const void* a;  ///< m x k, row-major
    const void* b;  ///< n x k, row-major
    void* c;        ///< m x n bf16, row-major
};

struct GemmSchedule {
    int tile_m, tile_n, tile_k;  ///< one of kGemmTiles (gemm_tiles.h), with `cluster`
    int stages = 4;              ///< 1 to 8
    int cluster = 1;             ///< CTAs along m that share B's tile by multicast: 1 or 2
    int split = 1;   ///< parts of k; more than 1 adds fp32 partial sums in L2 and a small kernel that folds them
    int panel = 16;  ///< m tiles walked for each n tile (L2-friendly order)
    bool persistent = true;
};

/// Why this schedule cannot run this problem; empty when it can.
[[nodiscard]] std::string gemm_refusal(const GemmProblem& problem, const GemmSchedule& schedule);

/// A problem bound to a schedule: tensor maps encoded, workspace allocated; launching costs nothing more.
class GemmPlan {
public:
    /// Throws CudaError when gemm_refusal has a reason. `log`: where the tile recorder writes (the variant with the
    /// recorder then runs), or null.
    GemmPlan(const GemmProblem& problem, const GemmSchedule& schedule, const TileLog* log = nullptr);
    /// One product. `dependent`: as a programmatic dependent of the kernel before it.
    void launch(cudaStream_t stream, bool dependent = false) const;
    /// CTAs of the grid.
    [[nodiscard]] int ctas() const;

private:
    struct State;
    std::shared_ptr<State> state_;
};

// ---- few rows (decode): weights streamed

struct SkinnySchedule {
    enum class Path { plain, tma };
    Path path = Path::tma;
    int tile_n = 64;   ///< weight rows of a CTA; tma: 64 or 128; plain: a multiple of 8 up to 64
    int tile_k = 128;  ///< tma: k of one stage: 64, 128 or 256
    int stages = 4;    ///< tma: ring depth, 1 to 8
    int split = 1;     ///< parts of k, folded like those of the large product
};

/// m from 1 to 64, bf16. Path tma: a ring that the weights fill before the kernel's dependency is waited for, and wgmma
/// with the weights on its M side (swap-AB). Path plain: 16-byte loads straight to registers and FMA lanes, m up to 8.
class SkinnyPlan {
public:
    /// Throws CudaError when skinny_refusal has a reason.
    SkinnyPlan(const GemmProblem& problem, const SkinnySchedule& schedule);
    void launch(cudaStream_t stream, bool dependent = false) const;
    [[nodiscard]] int ctas() const;

private:
    struct State;
    std::shared_ptr<State> state_;
};
[[nodiscard]] std::string skinny_refusal(const GemmProblem& problem, const SkinnySchedule& schedule);

}  // namespace memwall::kernels
