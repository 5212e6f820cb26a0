// Products with few rows, which only read weights: what counts is how many bytes are under way, and that they are under
// way early.

#include <cuda_bf16.h>

#include <algorithm>

#include "fold.h"
#include "gemm.h"
#include "gemm_order.h"
#include "gemm_tiles.h"
#include "hopper.cuh"
#include "wgmma.cuh"

namespace memwall::kernels {

namespace {

constexpr int kColumn = 64;  // bf16 elements in a swizzled row of 128 bytes
constexpr int kRowBytes = 128;
constexpr int kMostPlainRows = 8;

/// A CTA's share: weight rows n0 .. n0 + tile_n - 1, steps of k from first to end.
struct Share {
    int n0, split, first, end;
    __device__ Share(const GemmOrder& order, int tile_n) {
        const GemmItem item = order.item(static_cast<int>(blockIdx.x));
        n0 = item.n_tile * tile_n;
        split = item.split;
        first = item.first_step;
        end = item.end_step;
    }
};

struct SkinnyArguments {
    GemmOrder order;
    int stages;
    int m, n;
    float* partial;      ///< [split][m][n], or null
    __nv_bfloat16* out;  ///< m x n
};

__device__ void put(const SkinnyArguments& args, int split, int token, int row, float value) {
    if (token >= args.m || row >= args.n) return;
    const std::int64_t at = static_cast<std::int64_t>(token) * args.n + row;
    if (args.partial != nullptr) {
        args.partial[static_cast<std::int64_t>(split) * args.m * args.n + at] = value;
    } else {
        args.out[at] = __float2bfloat16_rn(value);
    }
}

// ---- tensor-core path

/// A stage: kColumns columns of the weights (64 rows for each group), then as many of the activations (kTokens rows).
template <int kGroups_, int kTokens_, int kColumns_>
struct SkinnyRing {
    static constexpr int kGroups = kGroups_, kTokens = kTokens_, kColumns = kColumns_;
    static constexpr int kWeightColumn = kGroups * 64 * kRowBytes, kTokenColumn = kTokens * kRowBytes;
    static constexpr int kStageBytes = kColumns * (kWeightColumn + kTokenColumn);
    char* ring;
    Barrier *full, *empty;

    __device__ SkinnyRing(char* raw, int stages) {
        ring = raw + ((1024 - (shared_address(raw) & 1023)) & 1023);
        full = reinterpret_cast<Barrier*>(ring + stages * kStageBytes);
        empty = full + kMostGemmStages;
    }
    [[nodiscard]] __device__ char* weights(int stage) const { return ring + stage * kStageBytes; }
    [[nodiscard]] __device__ char* tokens(int stage) const { return weights(stage) + kColumns * kWeightColumn; }

    __device__ void load_weights(const CUtensorMap* map, int stage, int step, int n0) const {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
            tma_load_2d(weights(stage) + c * kWeightColumn, map, &full[stage], (step * kColumns + c) * kColumn, n0);
        }
    }
    __device__ void load_tokens(const CUtensorMap* map, int stage, int step) const {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
            tma_load_2d(tokens(stage) + c * kTokenColumn, map, &full[stage], (step * kColumns + c) * kColumn, 0);
        }
    }
};

/// The weights of the first stages are under way before the kernel in front has ended: nothing writes them. The
/// activations are its output, and wait.
template <class Ring>
__device__ void produce_skinny(const Ring& ring, const CUtensorMap* weights, const CUtensorMap* tokens,
                               const Share& share, int stages) {
    const int early = min(stages, share.end - share.first);
    for (int i = 0; i < early; ++i) {
        barrier_arrive_expect(&ring.full[i], Ring::kStageBytes);
        ring.load_weights(weights, i, share.first + i, share.n0);
    }
    wait_dependency();
    for (int i = 0; i < early; ++i) ring.load_tokens(tokens, i, share.first + i);
    RingPlace place{early == stages ? 0 : early, early == stages ? 1U : 0U};
    for (int step = share.first + early; step < share.end; ++step) {
        barrier_wait(&ring.empty[place.stage], place.parity ^ 1);
        barrier_arrive_expect(&ring.full[place.stage], Ring::kStageBytes);
        ring.load_weights(weights, place.stage, step, share.n0);
        ring.load_tokens(tokens, place.stage, step);
        place.advance(stages);
    }
}

template <class Ring>
__device__ void consume_skinny(const Ring& ring, const SkinnyArguments& args, const Share& share) {
    const int thread = static_cast<int>(threadIdx.x) - 128, group = thread / 128, lane = thread % 32;
    float acc[Ring::kTokens / 2];
    RingPlace place;
    for (int step = share.first; step < share.end; ++step) {
        barrier_wait(&ring.full[place.stage], place.parity);
        wgmma_fence();
#pragma unroll
        for (int c = 0; c < Ring::kColumns; ++c) {
            const char* rows = ring.weights(place.stage) + c * Ring::kWeightColumn + group * 64 * kRowBytes;
            const std::uint64_t a = descriptor_k_major(rows);
            const std::uint64_t b = descriptor_k_major(ring.tokens(place.stage) + c * Ring::kTokenColumn);
#pragma unroll
            for (int at = 0; at < kRowBytes; at += 32) {
                wgmma_bf16(acc, advanced(a, at), advanced(b, at), step > share.first || c > 0 || at > 0);
            }
        }
        wgmma_commit();
        wgmma_wait<0>();
        if (lane == 0) barrier_arrive(&ring.empty[place.stage]);
        place.advance(args.stages);
    }
    // C lies transposed in the fragments: a row is a weight row, a column a token.
    const int row = share.n0 + group * 64 + thread % 128 / 32 * 16 + lane / 4;
    wait_dependency();  // what the kernel in front still reads may be what is overwritten here
#pragma unroll
    for (int unit = 0; unit < Ring::kTokens / 8; ++unit) {
        const int token = unit * 8 + lane % 4 * 2;
        put(args, share.split, token, row, acc[unit * 4]);
        put(args, share.split, token + 1, row, acc[unit * 4 + 1]);
        put(args, share.split, token, row + 8, acc[unit * 4 + 2]);
        put(args, share.split, token + 1, row + 8, acc[unit * 4 + 3]);
    }
}

template <class Ring>
__global__ void __launch_bounds__(128 * (Ring::kGroups + 1))
    skinny_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap tokens,
                  const __grid_constant__ SkinnyArguments args) {
    extern __shared__ char raw[];
    const Ring ring(raw, args.stages);
    trigger_dependents();
    if (threadIdx.x == 0) {
        prefetch_tensor_map(&weights);
        prefetch_tensor_map(&tokens);
        for (int stage = 0; stage < args.stages; ++stage) {
            barrier_init(&ring.full[stage], 1);
            barrier_init(&ring.empty[stage], 4 * Ring::kGroups);
        }
        fence_barrier_init();
    }
    __syncthreads();
    const Share share(args.order, Ring::kGroups * 64);
    if (threadIdx.x >= 128) {
        consume_skinny(ring, args, share);
    } else if (threadIdx.x == 0) {
        produce_skinny(ring, &weights, &tokens, share, args.stages);
    }
}

// ---- plain path

constexpr int kPlainWarps = 8;
constexpr int kPlainK = 256;   // elements of k that a warp takes at a time: 32 lanes of 16 bytes
constexpr int kPlainRows = 4;  // weight rows that a warp reads together, so that an activation serves four

__device__ float2 unpacked(std::uint32_t pair) {
    return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
}

__device__ float dot(const uint4& w, const uint4& x, float sum) {
    const std::uint32_t ws[4] = {w.x, w.y, w.z, w.w}, xs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float2 a = unpacked(ws[i]), b = unpacked(xs[i]);
        sum = fmaf(a.x, b.x, sum);
        sum = fmaf(a.y, b.y, sum);
    }
    return sum;
}

/// Four rows of weights against all tokens over the elements first .. end - 1 of k; sums over the warp land in lane 0.
template <int kTokens>
__device__ void plain_rows(const uint4* const (&w)[kPlainRows], const __nv_bfloat16* x, std::int64_t k, int first,
                           int end, float (&sum)[kPlainRows][kTokens]) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    constexpr int kUnroll = kTokens <= 2 ? 2 : 1;  // more tokens are more registers, and enough loads as they are
#pragma unroll kUnroll
    for (int at = first + lane * 8; at < end; at += kPlainK) {
        uint4 weight[kPlainRows];
#pragma unroll
        for (int r = 0; r < kPlainRows; ++r) weight[r] = __ldcs(w[r] + at / 8);  // read once: evict first
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            const uint4 token = __ldg(reinterpret_cast<const uint4*>(x + t * k + at));
#pragma unroll
            for (int r = 0; r < kPlainRows; ++r) sum[r][t] = dot(weight[r], token, sum[r][t]);
        }
    }
#pragma unroll
    for (int r = 0; r < kPlainRows; ++r) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
#pragma unroll
            for (int step = 16; step > 0; step /= 2) sum[r][t] += __shfl_xor_sync(0xffffffff, sum[r][t], step);
        }
    }
}

struct PlainArguments {
    SkinnyArguments common;
    const __nv_bfloat16 *x, *w;
    std::int64_t k;
    int tile_n;
};

template <int kTokens>
__global__ void __launch_bounds__(32 * kPlainWarps) plain_kernel(const __grid_constant__ PlainArguments args) {
    trigger_dependents();
    wait_dependency();
    const Share share(args.common.order, args.tile_n);
    const int first = share.first * kPlainK;
    const int end = static_cast<int>(min(static_cast<std::int64_t>(share.end) * kPlainK, args.k));
    const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
    for (int row = warp * kPlainRows; row < args.tile_n; row += kPlainWarps * kPlainRows) {
        const uint4* w[kPlainRows];
#pragma unroll
        for (int r = 0; r < kPlainRows; ++r) {
            const int n = min(share.n0 + row + r, args.common.n - 1);  // beyond the edge: read the last, store nothing
            w[r] = reinterpret_cast<const uint4*>(args.w + n * args.k);
        }
        float sum[kPlainRows][kTokens] = {};
        plain_rows<kTokens>(w, args.x, args.k, first, end, sum);
        if (lane != 0) continue;
#pragma unroll
        for (int r = 0; r < kPlainRows; ++r) {
            // Four rows of a warp end at the tile's edge: tiles are multiples of four rows.
#pragma unroll
            for (int t = 0; t < kTokens; ++t) put(args.common, share.split, t, share.n0 + row + r, sum[r][t]);
        }
    }
}

// ---- choice of the instance

using TensorKernel = void (*)(CUtensorMap, CUtensorMap, SkinnyArguments);
using PlainKernel = void (*)(PlainArguments);

template <int kGroups, int kTokens>
TensorKernel with_columns(int columns) {
    switch (columns) {
        case 1:
            return &skinny_kernel<SkinnyRing<kGroups, kTokens, 1>>;
        case 2:
            return &skinny_kernel<SkinnyRing<kGroups, kTokens, 2>>;
        default:
            return &skinny_kernel<SkinnyRing<kGroups, kTokens, 4>>;
    }
}

template <int kGroups>
TensorKernel tensor_kernel(int tokens, int columns) {
    switch (tokens) {
        case 8:
            return with_columns<kGroups, 8>(columns);
        case 16:
            return with_columns<kGroups, 16>(columns);
        case 32:
            return with_columns<kGroups, 32>(columns);
        default:
            return with_columns<kGroups, 64>(columns);
    }
}

/// The instance with just as many tokens: it reads no row of x that is not there.
PlainKernel plain_kernel_for(std::int64_t m) {
    switch (m) {
        case 1:
            return &plain_kernel<1>;
        case 2:
            return &plain_kernel<2>;
        case 3:
            return &plain_kernel<3>;
        case 4:
            return &plain_kernel<4>;
        case 5:
            return &plain_kernel<5>;
        case 6:
            return &plain_kernel<6>;
        case 7:
            return &plain_kernel<7>;
        default:
            return &plain_kernel<8>;
    }
}

}  // namespace

std::string skinny_refusal(const GemmProblem& p, const SkinnySchedule& s) {
    if (p.dtype != Dtype::bf16) return "few rows: bf16 only";
    if (p.k % 8 != 0 || p.n % 4 != 0) return "k must be a multiple of 8, n of 4";
    if (s.path == SkinnySchedule::Path::plain) {
        if (p.m < 1 || p.m > kMostPlainRows) return "path plain: 1 to 8 rows";
        if (s.tile_n < 4 || s.tile_n > 64 || s.tile_n % 4 != 0) return "path plain: tile_n a multiple of 4 up to 64";
        return "";
    }
    if (p.m < 1 || p.m > 64) return "path tma: 1 to 64 rows";
    if (s.tile_n != 64 && s.tile_n != 128) return "path tma: tile_n 64 or 128";
    if (s.tile_k != 64 && s.tile_k != 128 && s.tile_k != 256) return "path tma: tile_k 64, 128 or 256";
    if (s.stages < 1 || s.stages > kMostGemmStages) return "1 to 8 stages";
    if (skinny_smem_bytes(p.m, s.tile_n, s.tile_k, s.stages) > kSharedBytesOfCta) {
        return std::to_string(skinny_smem_bytes(p.m, s.tile_n, s.tile_k, s.stages)) +
               " bytes of shared memory; a CTA has " + std::to_string(kSharedBytesOfCta);
    }
    return "";
}

struct SkinnyPlan::State {
    SkinnyArguments arguments{};
    PlainArguments plain{};
    TensorKernel tensor_kernel = nullptr;
    PlainKernel plain_kernel = nullptr;
    CUtensorMap weights{}, tokens{};
    std::size_t smem_bytes = 0;
    unsigned threads = 0;
    void* out = nullptr;
    DeviceBuffer partial;
};

SkinnyPlan::SkinnyPlan(const GemmProblem& p, const SkinnySchedule& s) : state_(std::make_shared<State>()) {
    if (const std::string reason = skinny_refusal(p, s); !reason.empty()) throw CudaError(reason);
    State& state = *state_;
    const bool plain = s.path == SkinnySchedule::Path::plain;
    SkinnyArguments& args = state.arguments;
    args.stages = s.stages;
    args.m = static_cast<int>(p.m);
    args.n = static_cast<int>(p.n);
    args.out = static_cast<__nv_bfloat16*>(p.c);
    const int step_k = plain ? kPlainK : s.tile_k;
    args.order = GemmOrder::of(1, p.n, p.k, 1, s.tile_n, step_k, 1, s.split, 1);
    state.out = p.c;
    if (args.order.splits > 1) {
        state.partial = DeviceBuffer(static_cast<std::size_t>(args.order.splits) * p.m * p.n * sizeof(float));
        args.partial = state.partial.as<float>();
    }
    if (plain) {
        state.plain_kernel = plain_kernel_for(p.m);
        state.plain = {args, static_cast<const __nv_bfloat16*>(p.a), static_cast<const __nv_bfloat16*>(p.b), p.k,
                       s.tile_n};
        state.threads = 32 * kPlainWarps;
        return;
    }
    const int tokens = padded_tokens(p.m);
    const auto k = static_cast<std::uint64_t>(p.k);
    state.tensor_kernel =
        s.tile_n == 64 ? tensor_kernel<1>(tokens, s.tile_k / kColumn) : tensor_kernel<2>(tokens, s.tile_k / kColumn);
    state.weights =
        matrix_map(p.b, p.dtype, static_cast<std::uint64_t>(p.n), k, static_cast<std::uint32_t>(s.tile_n), kColumn);
    state.tokens =
        matrix_map(p.a, p.dtype, static_cast<std::uint64_t>(p.m), k, static_cast<std::uint32_t>(tokens), kColumn);
    state.smem_bytes = skinny_smem_bytes(p.m, s.tile_n, s.tile_k, s.stages);
    state.threads = static_cast<unsigned>(128 + s.tile_n / 64 * 128);
}

void SkinnyPlan::launch(cudaStream_t stream, bool dependent) const {
    const State& s = *state_;
    const Launch how{.grid = dim3(static_cast<unsigned>(ctas())),
                     .block = dim3(s.threads),
                     .smem_bytes = s.smem_bytes,
                     .stream = stream,
                     .dependent = dependent};
    if (s.plain_kernel != nullptr) {
        kernels::launch(s.plain_kernel, how, s.plain);
    } else {
        kernels::launch(s.tensor_kernel, how, s.weights, s.tokens, s.arguments);
    }
    if (s.arguments.partial == nullptr) return;
    const std::int64_t elements = static_cast<std::int64_t>(s.arguments.m) * s.arguments.n;
    fold_partials(s.arguments.partial, s.arguments.order.splits, elements, s.out, stream, dependent);
}

int SkinnyPlan::ctas() const {
    return state_->arguments.order.items();
}

}  // namespace memwall::kernels
