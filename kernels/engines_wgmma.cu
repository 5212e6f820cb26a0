// The tensor core: its rate by shape, and one product by each way of feeding it, which is what proves the descriptors
// and fragment layouts of wgmma.cuh.

#include "engines.h"
#include "hopper.cuh"
#include "wgmma.cuh"

namespace memwall::kernels {

namespace {

constexpr int kGroup = 8;                // products between two commits
constexpr int kOperandBytes = 48 << 10;  // A of two warpgroups, 8 KiB each, and B of up to 256 rows of 128 bytes

__device__ char* aligned_tile(char* raw) {
    return raw + ((1024 - (shared_address(raw) & 1023)) & 1023);
}

/// What happens to lie there is the operand: the rate does not depend on where an element belongs.
__device__ void fill_shared(char* to, const void* from) {
    for (int i = static_cast<int>(threadIdx.x); i < kOperandBytes / 16; i += static_cast<int>(blockDim.x)) {
        reinterpret_cast<uint4*>(to)[i] = static_cast<const uint4*>(from)[i];
    }
    fence_async_proxy();
    __syncthreads();
}

/// kDtype: fp32 operands are multiplied as tf32.
template <int kN, Dtype kDtype, bool kRegisters>
__global__ void __launch_bounds__(256, 1) rate_kernel(const void* operands, int times, EngineResult* results) {
    extern __shared__ char raw[];
    char* tile = aligned_tile(raw);
    fill_shared(tile, operands);
    const std::uint64_t a = descriptor_k_major(tile + threadIdx.x / 128 * 8192);
    const std::uint64_t b = descriptor_k_major(tile + 16384);
    const auto* words = static_cast<const std::uint32_t*>(operands);
    const std::uint32_t fragment[4] = {words[threadIdx.x], words[threadIdx.x + 256], words[threadIdx.x + 512],
                                       words[threadIdx.x + 768]};
    float d[kN / 2];
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) d[i] = 0;
    const std::uint64_t cycles = clock_now(), ns = global_timer();
    for (int i = 0; i < times; i += kGroup) {
        wgmma_fence();
#pragma unroll
        for (int product = 0; product < kGroup; ++product) {
            const int at = product % 4 * 32;
            if constexpr (kRegisters) {
                wgmma_bf16_rs(d, fragment, advanced(b, at), true);
            } else if constexpr (kDtype == Dtype::fp8) {
                wgmma_fp8(d, advanced(a, at), advanced(b, at), true);
            } else if constexpr (kDtype == Dtype::fp32) {
                wgmma_tf32(d, advanced(a, at), advanced(b, at), true);
            } else {
                wgmma_bf16(d, advanced(a, at), advanced(b, at), true);
            }
        }
        wgmma_commit();
        wgmma_wait<1>();  // the group before: the tensor core always has the next one queued
    }
    wgmma_wait<0>();
    const std::uint64_t end_cycles = clock_now(), end_ns = global_timer();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) sum += d[i];
    if (sum == 0.123456f) results[blockIdx.x].cycles = 0;  // keeps the products
    __syncthreads();
    if (threadIdx.x == 0) results[blockIdx.x] = {end_cycles - cycles, end_ns - ns, 0};
}

using RateKernel = void (*)(const void*, int, EngineResult*);

template <int kN>
RateKernel rate_kernel_for(Dtype dtype, OperandA a) {
    if (dtype == Dtype::fp8) return &rate_kernel<kN, Dtype::fp8, false>;
    if (dtype == Dtype::fp32) return &rate_kernel<kN, Dtype::fp32, false>;
    return a == OperandA::registers ? &rate_kernel<kN, Dtype::bf16, true> : &rate_kernel<kN, Dtype::bf16, false>;
}

RateKernel rate_kernel_of(Dtype dtype, int n, OperandA a) {
    switch (n) {
        case 8:
            return rate_kernel_for<8>(dtype, a);
        case 16:
            return rate_kernel_for<16>(dtype, a);
        case 32:
            return rate_kernel_for<32>(dtype, a);
        case 64:
            return rate_kernel_for<64>(dtype, a);
        case 96:
            return rate_kernel_for<96>(dtype, a);
        case 128:
            return rate_kernel_for<128>(dtype, a);
        case 192:
            return rate_kernel_for<192>(dtype, a);
        case 256:
            return rate_kernel_for<256>(dtype, a);
        default:
            return nullptr;
    }
}

/// One warpgroup, one column of k: 128 bytes of each row.
template <int kN, Dtype kDtype, ProductWay kWay>
__global__ void __launch_bounds__(128)
    product_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                   const std::uint32_t* a_words, float* out) {
    extern __shared__ char raw[];
    __shared__ Barrier landed;
    char* tile = aligned_tile(raw);
    char* tile_b = tile + 8192;
    constexpr int kColumnsB = kWay == ProductWay::transposed ? kN / 64 : 1;
    constexpr int kBytesB = kWay == ProductWay::transposed ? kColumnsB * 64 * 128 : kN * 128;
    if (threadIdx.x == 0) {
        barrier_init(&landed, 1);
        fence_barrier_init();
        fence_async_proxy();  // no barrier between here and the copies, which count on it
        barrier_arrive_expect(&landed, 8192 + kBytesB);
        tma_load_2d(tile, &a, &landed, 0, 0);
        for (int column = 0; column < kColumnsB; ++column) {
            tma_load_2d(tile_b + column * 64 * 128, &b, &landed, column * 64, 0);
        }
    }
    __syncthreads();
    barrier_wait(&landed, 0);
    const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * 16 + lane / 4;
    // A from registers: a row has 64 bf16, 32 words; this thread's pairs are at columns 2 * (lane % 4) and eight
    // further.
    std::uint32_t fragment[4][4] = {};
    if constexpr (kWay == ProductWay::registers) {
#pragma unroll
        for (int step = 0; step < 4; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                fragment[step][i] = a_words[(row + i % 2 * 8) * 32 + step * 8 + lane % 4 + i / 2 * 4];
            }
        }
    }
    float d[kN / 2] = {};
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
        const std::uint64_t from_a = advanced(descriptor_k_major(tile), step * 32);
        if constexpr (kDtype == Dtype::fp32) {
            wgmma_tf32(d, from_a, advanced(descriptor_k_major(tile_b), step * 32), step > 0);
        } else if constexpr (kDtype == Dtype::fp8) {
            wgmma_fp8(d, from_a, advanced(descriptor_k_major(tile_b), step * 32), step > 0);
        } else if constexpr (kWay == ProductWay::shared) {
            wgmma_bf16(d, from_a, advanced(descriptor_k_major(tile_b), step * 32), step > 0);
        } else if constexpr (kWay == ProductWay::transposed) {
            // 16 rows of k further on: 2,048 bytes.
            wgmma_bf16<1>(d, from_a, advanced(descriptor_mn_major(tile_b, 64 * 128), step * 2048), step > 0);
        } else {
            wgmma_bf16_rs(d, fragment[step], advanced(descriptor_k_major(tile_b), step * 32), step > 0);
        }
    }
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int unit = 0; unit < kN / 8; ++unit) {
        float* to = out + row * kN + unit * 8 + lane % 4 * 2;
        to[0] = d[unit * 4];
        to[1] = d[unit * 4 + 1];
        to[8 * kN] = d[unit * 4 + 2];
        to[8 * kN + 1] = d[unit * 4 + 3];
    }
}

using ProductKernel = void (*)(CUtensorMap, CUtensorMap, const std::uint32_t*, float*);

template <int kN>
ProductKernel product_kernel_for(Dtype dtype, ProductWay way) {
    if (dtype == Dtype::fp8) return &product_kernel<kN, Dtype::fp8, ProductWay::shared>;
    if (dtype == Dtype::fp32) return &product_kernel<kN, Dtype::fp32, ProductWay::shared>;
    if (way == ProductWay::shared) return &product_kernel<kN, Dtype::bf16, ProductWay::shared>;
    if (way == ProductWay::registers) return &product_kernel<kN, Dtype::bf16, ProductWay::registers>;
    // A row of B MN-major has 64 of n.
    if constexpr (kN % 64 == 0) return &product_kernel<kN, Dtype::bf16, ProductWay::transposed>;
    return nullptr;
}

ProductKernel product_kernel_of(Dtype dtype, int n, ProductWay way) {
    switch (n) {
        case 8:
            return product_kernel_for<8>(dtype, way);
        case 16:
            return product_kernel_for<16>(dtype, way);
        case 32:
            return product_kernel_for<32>(dtype, way);
        case 64:
            return product_kernel_for<64>(dtype, way);
        case 96:
            return product_kernel_for<96>(dtype, way);
        case 128:
            return product_kernel_for<128>(dtype, way);
        case 176:
            return product_kernel_for<176>(dtype, way);
        case 192:
            return product_kernel_for<192>(dtype, way);
        case 256:
            return product_kernel_for<256>(dtype, way);
        default:
            return nullptr;
    }
}

}  // namespace

std::string wgmma_refusal(Dtype dtype, int n, OperandA a) {
    if (dtype != Dtype::bf16 && a == OperandA::registers) return "A from registers in bf16 only";
    return rate_kernel_of(dtype, n, a) == nullptr ? "n 8, 16, 32, 64, 96, 128, 192 or 256" : "";
}

void wgmma_rate(Dtype dtype, int n, OperandA a, int warpgroups, int times, const void* operands, EngineResult* results,
                cudaStream_t stream) {
    if (const std::string reason = wgmma_refusal(dtype, n, a); !reason.empty()) throw CudaError("wgmma: " + reason);
    Launch how{.grid = dim3(static_cast<unsigned>(multiprocessors())),
               .block = dim3(static_cast<unsigned>(128 * warpgroups))};
    how.smem_bytes = 120 << 10;  // one CTA to an SM
    how.stream = stream;
    launch(rate_kernel_of(dtype, n, a), how, operands, times, results);
}

void wgmma_product(Dtype dtype, int n, ProductWay way, const void* a, const void* b, float* d, cudaStream_t stream) {
    const auto k = static_cast<std::uint32_t>(128 / bytes_of(dtype));
    const bool transposed = way == ProductWay::transposed;
    const auto cols = static_cast<std::uint32_t>(n);
    const CUtensorMap map_a = matrix_map(a, dtype, 64, k, 64, k);
    const CUtensorMap map_b =
        transposed ? matrix_map(b, dtype, k, cols, k, 64) : matrix_map(b, dtype, cols, k, cols, k);
    Launch how{.grid = dim3(1), .block = dim3(128)};
    how.smem_bytes = 64 << 10;
    how.stream = stream;
    ProductKernel kernel = product_kernel_of(dtype, n, way);
    if (kernel == nullptr) throw CudaError("wgmma_product: an n of wgmma.cuh, with B MN-major a multiple of 64");
    launch(kernel, how, map_a, map_b, static_cast<const std::uint32_t*>(a), d);
}

}  // namespace memwall::kernels
