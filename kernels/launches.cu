#include "hopper.cuh"
#include "host.h"
#include "launches.h"

namespace memwall::kernels {

namespace {

constexpr std::size_t kSharedBytesOfSm = 227 << 10;

__global__ void nothing_kernel() {
    trigger_dependents();
    wait_dependency();
}

__global__ void __launch_bounds__(256) small_copy_kernel(const uint4* from, uint4* to, std::int64_t pieces) {
    trigger_dependents();
    wait_dependency();
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < pieces) to[i] = from[i];
}

__global__ void cluster_kernel() {
    cluster_barrier();
}

__global__ void grid_barrier_kernel(int times, std::uint32_t* counter, std::uint64_t* cycles) {
    if (threadIdx.x != 0) return;
    constexpr int kPatience = 1 << 22;
    const std::uint64_t begin = clock_now();
    for (int i = 1; i <= times; ++i) {
        __threadfence();
        atomicAdd(counter, 1U);
        const auto all = static_cast<std::uint32_t>(i) * gridDim.x;
        int waits = 0;
        while (*static_cast<volatile std::uint32_t*>(counter) < all) {
            if (++waits > kPatience) {
                if (blockIdx.x == 0) *cycles = 0;
                return;
            }
        }
    }
    if (blockIdx.x == 0) *cycles = clock_now() - begin;
}

}  // namespace

void empty_kernel(cudaStream_t stream, bool dependent) {
    Launch how{.grid = dim3(1), .block = dim3(32)};
    how.stream = stream;
    how.dependent = dependent;
    launch(nothing_kernel, how);
}

void copy_kernel(const void* from, void* to, std::int64_t bytes, cudaStream_t stream, bool dependent) {
    const std::int64_t pieces = bytes / 16;
    Launch how{.grid = dim3(static_cast<unsigned>((pieces + 255) / 256)), .block = dim3(256)};
    how.stream = stream;
    how.dependent = dependent;
    launch(small_copy_kernel, how, static_cast<const uint4*>(from), static_cast<uint4*>(to), pieces);
}

void empty_ctas(int ctas, int threads, int per_sm, cudaStream_t stream) {
    Launch how{.grid = dim3(static_cast<unsigned>(ctas)), .block = dim3(static_cast<unsigned>(threads))};
    // A CTA takes a kilobyte more than it asks for.
    how.smem_bytes = kSharedBytesOfSm / static_cast<std::size_t>(per_sm) - 2048;
    how.stream = stream;
    launch(nothing_kernel, how);
}

void empty_clusters(int size, cudaStream_t stream) {
    const int ctas = multiprocessors() / size * size;
    Launch how{.grid = dim3(static_cast<unsigned>(ctas)), .block = dim3(32)};
    how.stream = stream;
    how.cluster = static_cast<unsigned>(size);
    launch(cluster_kernel, how);
}

void grid_barriers(int times, std::uint32_t* counter, std::uint64_t* cycles, cudaStream_t stream) {
    Launch how{.grid = dim3(static_cast<unsigned>(multiprocessors())), .block = dim3(32)};
    how.smem_bytes = 200 << 10;  // one CTA to an SM: all are there at once
    how.stream = stream;
    launch(grid_barrier_kernel, how, times, counter, cycles);
}

}  // namespace memwall::kernels
