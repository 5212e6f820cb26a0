#include <cuda_bf16.h>

#include "fold.h"
#include "hopper.cuh"
#include "host.h"

namespace memwall::kernels {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    fold_kernel(const float4* partial, int splits, std::int64_t quads, __nv_bfloat162* out) {
    trigger_dependents();
    wait_dependency();
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= quads) return;
    float4 sum = partial[i];
    for (int s = 1; s < splits; ++s) {
        const float4 more = partial[s * quads + i];
        sum.x += more.x;
        sum.y += more.y;
        sum.z += more.z;
        sum.w += more.w;
    }
    out[2 * i] = __floats2bfloat162_rn(sum.x, sum.y);
    out[2 * i + 1] = __floats2bfloat162_rn(sum.z, sum.w);
}

}  // namespace

void fold_partials(const float* partial, int splits, std::int64_t elements, void* out_bf16, cudaStream_t stream,
                   bool dependent) {
    const std::int64_t quads = elements / 4;
    Launch how{dim3(static_cast<unsigned>((quads + kThreads - 1) / kThreads)), dim3(kThreads)};
    how.stream = stream;
    how.dependent = dependent;
    launch(fold_kernel, how, reinterpret_cast<const float4*>(partial), splits, quads,
           static_cast<__nv_bfloat162*>(out_bf16));
}

}  // namespace memwall::kernels
