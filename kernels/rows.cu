#include <cuda_bf16.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "hopper.cuh"
#include "host.h"
#include "rows.h"

namespace memwall::kernels {

namespace {

constexpr int kVector = 8;  // bf16 in 16 bytes
constexpr int kMostThreads = 1024;
constexpr int kMostVectors = 8;  // 16-byte pieces of a row that a thread may hold
constexpr std::int64_t kMostColumns = static_cast<std::int64_t>(kMostThreads) * kMostVectors * kVector;

/// Eight bf16 as fp32.
struct Eight {
    float value[kVector];

    __device__ static Eight load(const uint4* from) { return of(*from); }
    __device__ static Eight of(const uint4& raw) {
        const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
        Eight e;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float2 pair = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&words[i]));
            e.value[2 * i] = pair.x;
            e.value[2 * i + 1] = pair.y;
        }
        return e;
    }
    __device__ void store(uint4* to) const {
        *to = packed();
    }
    [[nodiscard]] __device__ uint4 packed() const {
        std::uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const __nv_bfloat162 pair = __floats2bfloat162_rn(value[2 * i], value[2 * i + 1]);
            words[i] = *reinterpret_cast<const std::uint32_t*>(&pair);
        }
        return make_uint4(words[0], words[1], words[2], words[3]);
    }
};

/// The compiler forgets what it knows of `raw`: unpacked values of a pass before are not kept in registers for this
/// one.
__device__ void forget(uint4& raw) {
    asm volatile("" : "+r"(raw.x), "+r"(raw.y), "+r"(raw.z), "+r"(raw.w));
}

struct Sum {
    __device__ static float of(float a, float b) { return a + b; }
};
struct Maximum {
    __device__ static float of(float a, float b) { return fmaxf(a, b); }
};

/// Over all threads of the CTA; every thread gets the result. `parts`: 32 floats of shared memory. `neutral` leaves any
/// value as it is.
template <class Operation>
__device__ float reduced(float value, float neutral, float* parts) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value = Operation::of(value, __shfl_xor_sync(0xffffffff, value, step));
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    if (lane == 0) parts[warp] = value;
    __syncthreads();
    value = lane < static_cast<int>(blockDim.x / 32) ? parts[lane] : neutral;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value = Operation::of(value, __shfl_xor_sync(0xffffffff, value, step));
    __syncthreads();  // the parts may be written again
    return value;
}

/// The pieces of a CTA's row that this thread holds: v-th at threadIdx.x + v * blockDim.x.
template <int kVectors, class Body>
__device__ void each_piece(std::int64_t pieces, const Body& body) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
        const std::int64_t piece = threadIdx.x + static_cast<std::int64_t>(v) * blockDim.x;
        if (piece < pieces) body(v, piece);
    }
}

template <int kVectors, bool kResidual>
__global__ void __launch_bounds__(kMostThreads) rmsnorm_kernel(const __grid_constant__ RmsnormArguments args) {
    __shared__ float parts[32];
    trigger_dependents();
    wait_dependency();
    const std::int64_t pieces = args.cols / kVector, row = static_cast<std::int64_t>(blockIdx.x) * pieces;
    const uint4* x = static_cast<const uint4*>(args.x) + row;
    uint4* residual = static_cast<uint4*>(args.residual) + row;
    uint4 held[kVectors];  // as bf16: a row of 65,536 in fp32 would be the whole register file
    float squares = 0;
    each_piece<kVectors>(pieces, [&](int v, std::int64_t piece) {
        held[v] = x[piece];
        Eight value = Eight::of(held[v]);
        if constexpr (kResidual) {
            const Eight more = Eight::load(residual + piece);
#pragma unroll
            for (int i = 0; i < kVector; ++i) value.value[i] += more.value[i];
            held[v] = value.packed();
            residual[piece] = held[v];
        }
#pragma unroll
        for (int i = 0; i < kVector; ++i) squares = fmaf(value.value[i], value.value[i], squares);
    });
    const float mean = reduced<Sum>(squares, 0, parts) / static_cast<float>(args.cols);
    const float scale = rsqrtf(mean + args.epsilon);
    uint4* out = static_cast<uint4*>(args.out) + row;
    each_piece<kVectors>(pieces, [&](int v, std::int64_t piece) {
        const Eight weight = Eight::load(static_cast<const uint4*>(args.weight) + piece);
        forget(held[v]);
        Eight value = Eight::of(held[v]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) value.value[i] *= scale * weight.value[i];
        value.store(out + piece);
    });
}

template <int kVectors>
__global__ void __launch_bounds__(kMostThreads) softmax_kernel(const uint4* x, uint4* out, std::int64_t cols) {
    __shared__ float parts[32];
    trigger_dependents();
    wait_dependency();
    const std::int64_t pieces = cols / kVector, row = static_cast<std::int64_t>(blockIdx.x) * pieces;
    uint4 held[kVectors];
    float most = -INFINITY;
    each_piece<kVectors>(pieces, [&](int v, std::int64_t piece) {
        held[v] = x[row + piece];
        const Eight value = Eight::of(held[v]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) most = fmaxf(most, value.value[i]);
    });
    most = reduced<Maximum>(most, -INFINITY, parts);
    constexpr float kLog2E = 1.4426950408889634f;
    float sum = 0;
    each_piece<kVectors>(pieces, [&](int v, std::int64_t) {
        forget(held[v]);
        const Eight value = Eight::of(held[v]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) sum += exp2f((value.value[i] - most) * kLog2E);
    });
    const float share = 1 / reduced<Sum>(sum, 0, parts);
    // The exponentials are taken again: kept as fp32 they would not fit, as bf16 they would be rounded twice.
    each_piece<kVectors>(pieces, [&](int v, std::int64_t piece) {
        forget(held[v]);
        Eight value = Eight::of(held[v]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) value.value[i] = exp2f((value.value[i] - most) * kLog2E) * share;
        value.store(out + row + piece);
    });
}

/// Threads for a row of so many pieces, a multiple of 32, and the pieces that each holds.
struct RowShape {
    int threads, vectors;
};
RowShape row_shape(const char* what, std::int64_t cols) {
    if (cols < kVector || cols % kVector != 0 || cols > kMostColumns) {
        throw std::runtime_error(std::string(what) + ": " + std::to_string(cols) +
                                 " columns; allowed: a multiple of 8 up to " + std::to_string(kMostColumns));
    }
    const std::int64_t pieces = cols / kVector;
    // Two pieces a thread where there are enough of them: independent loads in flight, and a short reduction.
    int vectors = 1;
    while (vectors < kMostVectors && pieces > static_cast<std::int64_t>(vectors) * (vectors < 2 ? 128 : kMostThreads)) {
        vectors *= 2;
    }
    const std::int64_t threads = (pieces + vectors - 1) / vectors;
    return {static_cast<int>((threads + 31) / 32 * 32), vectors};
}

Launch row_launch(std::int64_t rows, int threads, cudaStream_t stream, bool dependent) {
    Launch how{.grid = dim3(static_cast<unsigned>(rows)), .block = dim3(static_cast<unsigned>(threads))};
    how.stream = stream;
    how.dependent = dependent;
    return how;
}

template <bool kResidual>
auto rmsnorm_kernel_for(int vectors) {
    switch (vectors) {
        case 1:
            return &rmsnorm_kernel<1, kResidual>;
        case 2:
            return &rmsnorm_kernel<2, kResidual>;
        case 4:
            return &rmsnorm_kernel<4, kResidual>;
        default:
            // With a residual eight pieces and the sums would not fit the registers of 1,024 threads.
            if constexpr (kResidual) throw std::runtime_error("rmsnorm with a residual: up to 32,768 columns");
            return &rmsnorm_kernel < kResidual ? 4 : 8, kResidual > ;
    }
}

auto softmax_kernel_for(int vectors) {
    switch (vectors) {
        case 1:
            return &softmax_kernel<1>;
        case 2:
            return &softmax_kernel<2>;
        case 4:
            return &softmax_kernel<4>;
        default:
            return &softmax_kernel<8>;
    }
}

// ---- elementwise

constexpr int kElementwiseThreads = 256, kElementwisePieces = 2;

/// Two pieces of each input a thread, all of them loaded before the first is used.
template <int kReads, int kWrites>
__global__ void __launch_bounds__(kElementwiseThreads)
    elementwise_kernel(const __grid_constant__ ElementwiseArguments args) {
    trigger_dependents();
    wait_dependency();
    const std::int64_t pieces = args.elements / kVector;
    const std::int64_t first =
        static_cast<std::int64_t>(blockIdx.x) * kElementwiseThreads * kElementwisePieces + threadIdx.x;
    Eight in[kElementwisePieces][kReads > 0 ? kReads : 1];
#pragma unroll
    for (int p = 0; p < kElementwisePieces; ++p) {
        const std::int64_t piece = first + p * kElementwiseThreads;
        if (piece >= pieces) continue;
#pragma unroll
        for (int r = 0; r < kReads; ++r) in[p][r] = Eight::load(static_cast<const uint4*>(args.inputs[r]) + piece);
    }
#pragma unroll
    for (int p = 0; p < kElementwisePieces; ++p) {
        const std::int64_t piece = first + p * kElementwiseThreads;
        if (piece >= pieces) continue;
        Eight sum{};
#pragma unroll
        for (int r = 0; r < kReads; ++r) {
#pragma unroll
            for (int i = 0; i < kVector; ++i) sum.value[i] += in[p][r].value[i];
        }
#pragma unroll
        for (int w = 0; w < kWrites; ++w) {
            Eight out = sum;
#pragma unroll
            for (int i = 0; i < kVector; ++i) out.value[i] += static_cast<float>(w);
            out.store(static_cast<uint4*>(args.outputs[w]) + piece);
        }
        if constexpr (kWrites == 0) {
            // Never true for inputs in [-1, 1); keeps the loads.
            if (sum.value[0] + sum.value[3] + sum.value[7] == 12345.0f) {
                sum.store(const_cast<uint4*>(static_cast<const uint4*>(args.inputs[0])) + piece);
            }
        }
    }
}

template <int kReads>
auto elementwise_kernel_for(int writes) {
    switch (writes) {
        case 0:
            return &elementwise_kernel < kReads, kReads == 0 ? 1 : 0 > ;  // nothing at all is refused before
        case 1:
            return &elementwise_kernel<kReads, 1>;
        case 2:
            return &elementwise_kernel<kReads, 2>;
        case 3:
            return &elementwise_kernel<kReads, 3>;
        default:
            return &elementwise_kernel<kReads, 4>;
    }
}

// ---- rotary positions, SiLU

/// A thread for each pair (i, i + head_dim / 2) of a q or k head, and for each pair of neighbours of a v head.
__global__ void __launch_bounds__(256) rope_kernel(const __grid_constant__ RopeArguments args) {
    trigger_dependents();
    wait_dependency();
    const int half = args.head_dim / 2, all_heads = args.heads + 2 * args.kv_heads;
    const std::int64_t token = blockIdx.x;
    auto* row = static_cast<__nv_bfloat16*>(args.qkv) + token * all_heads * args.head_dim;
    const std::int64_t position = args.decode ? args.position : args.position + token;
    const std::int64_t sequence = args.decode ? token : 0;
    for (int pair = static_cast<int>(threadIdx.x); pair < all_heads * half; pair += static_cast<int>(blockDim.x)) {
        const int head = pair / half, i = pair % half;
        __nv_bfloat16* x = row + head * args.head_dim;
        const bool is_v = head >= args.heads + args.kv_heads;
        float low = __bfloat162float(x[i]), high = __bfloat162float(x[i + half]);
        if (!is_v) {
            // theta^(-2i/d), as in the paper of RoPE (Su et al., 2104.09864), with Llama's half-split pairs.
            const float angle = static_cast<float>(position) *
                                powf(args.theta, -2.0f * static_cast<float>(i) / static_cast<float>(args.head_dim));
            float sine, cosine;
            sincosf(angle, &sine, &cosine);
            const float turned = low * cosine - high * sine;
            high = high * cosine + low * sine;
            low = turned;
            x[i] = __float2bfloat16_rn(low);
            x[i + half] = __float2bfloat16_rn(high);
        }
        if (head < args.heads || args.cache_k == nullptr) continue;
        const int kv_head = is_v ? head - args.heads - args.kv_heads : head - args.heads;
        auto* cache = static_cast<__nv_bfloat16*>(is_v ? args.cache_v : args.cache_k);
        __nv_bfloat16* to = cache + ((sequence * args.kv_heads + kv_head) * args.capacity + position) * args.head_dim;
        to[i] = __float2bfloat16_rn(low);
        to[i + half] = __float2bfloat16_rn(high);
    }
}

__global__ void __launch_bounds__(256)
    silu_mul_kernel(const uint4* gate_up, uint4* out, std::int64_t rows, std::int64_t pieces) {
    trigger_dependents();
    wait_dependency();
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= rows * pieces) return;
    const std::int64_t row = at / pieces, piece = at % pieces;
    const Eight gate = Eight::load(gate_up + row * 2 * pieces + piece);
    const Eight up = Eight::load(gate_up + row * 2 * pieces + pieces + piece);
    Eight result;
#pragma unroll
    for (int i = 0; i < kVector; ++i) result.value[i] = gate.value[i] / (1 + __expf(-gate.value[i])) * up.value[i];
    result.store(out + at);
}

}  // namespace

void rmsnorm(const RmsnormArguments& args, cudaStream_t stream, bool dependent) {
    const RowShape shape = row_shape("rmsnorm", args.cols);
    const auto kernel =
        args.residual != nullptr ? rmsnorm_kernel_for<true>(shape.vectors) : rmsnorm_kernel_for<false>(shape.vectors);
    launch(kernel, row_launch(args.rows, shape.threads, stream, dependent), args);
}

void softmax(const void* x, void* out, std::int64_t rows, std::int64_t cols, cudaStream_t stream, bool dependent) {
    const RowShape shape = row_shape("softmax", cols);
    launch(softmax_kernel_for(shape.vectors), row_launch(rows, shape.threads, stream, dependent),
           static_cast<const uint4*>(x), static_cast<uint4*>(out), cols);
}

void elementwise(const ElementwiseArguments& args, cudaStream_t stream, bool dependent) {
    if (args.reads < 0 || args.reads > 4 || args.writes < 0 || args.writes > 4 || args.reads + args.writes == 0 ||
        args.elements < kVector || args.elements % kVector != 0) {
        throw std::runtime_error("elementwise: 0 to 4 inputs and outputs, not both 0, and a multiple of 8 elements");
    }
    constexpr std::int64_t kBlock = kElementwiseThreads * kElementwisePieces;
    const std::int64_t blocks = (args.elements / kVector + kBlock - 1) / kBlock;
    const Launch how = row_launch(blocks, kElementwiseThreads, stream, dependent);
    switch (args.reads) {
        case 0:
            return launch(elementwise_kernel_for<0>(args.writes), how, args);
        case 1:
            return launch(elementwise_kernel_for<1>(args.writes), how, args);
        case 2:
            return launch(elementwise_kernel_for<2>(args.writes), how, args);
        case 3:
            return launch(elementwise_kernel_for<3>(args.writes), how, args);
        default:
            return launch(elementwise_kernel_for<4>(args.writes), how, args);
    }
}

void rope_kv_write(const RopeArguments& args, cudaStream_t stream, bool dependent) {
    launch(rope_kernel, row_launch(args.tokens, 256, stream, dependent), args);
}

void silu_mul(const void* gate_up, void* out, std::int64_t rows, std::int64_t cols, cudaStream_t stream,
              bool dependent) {
    if (cols % kVector != 0) throw std::runtime_error("silu_mul: columns must be a multiple of 8");
    const std::int64_t pieces = cols / kVector;
    launch(silu_mul_kernel, row_launch((rows * pieces + 255) / 256, 256, stream, dependent),
           static_cast<const uint4*>(gate_up), static_cast<uint4*>(out), rows, pieces);
}

}  // namespace memwall::kernels
