#include <algorithm>

#include "engines.h"
#include "hopper.cuh"

namespace memwall::kernels {

namespace {

constexpr int kRing = 16, kThreads = 1024;

__device__ char* aligned_ring(char* raw) {
    return raw + ((128 - (shared_address(raw) & 127)) & 127);
}

/// The time between its making and `stop`.
struct Stopwatch {
    std::uint64_t cycles = clock_now(), ns = global_timer();
    __device__ void stop(EngineResult* result) const {
        const std::uint64_t end_cycles = clock_now(), end_ns = global_timer();
        *result = {end_cycles - cycles, end_ns - ns};
    }
};

__device__ void start_barriers(Barrier* barriers, int count, std::uint32_t arrivals) {
    for (int i = 0; i < count; ++i) barrier_init(&barriers[i], arrivals);
    fence_barrier_init();
    fence_async_proxy();
}

/// As many boxes under way as the ring has places.
__global__ void issue_kernel(const char* from, int box_bytes, int places, int times, EngineResult* result) {
    extern __shared__ char raw[];
    __shared__ Barrier full[kRing];
    if (threadIdx.x != 0) return;
    char* ring = aligned_ring(raw);
    start_barriers(full, places, 1);
    const auto bytes = static_cast<std::uint32_t>(box_bytes);
    RingPlace issue, wait;
    const Stopwatch watch;
    for (int i = 0; i < times; ++i) {
        if (i >= places) {
            barrier_wait(&full[wait.stage], wait.parity);
            wait.advance(places);
        }
        barrier_arrive_expect(&full[issue.stage], bytes);
        bulk_load(ring + issue.stage * box_bytes, from + i % 64 * box_bytes, bytes, &full[issue.stage]);
        issue.advance(places);
    }
    for (int i = max(0, times - places); i < times; ++i) {
        barrier_wait(&full[wait.stage], wait.parity);
        wait.advance(places);
    }
    watch.stop(result);
}

__global__ void single_kernel(const char* from, std::int64_t stride_bytes, int box_bytes, int times,
                              EngineResult* result) {
    extern __shared__ char raw[];
    __shared__ Barrier full;
    if (threadIdx.x != 0) return;
    char* box = aligned_ring(raw);
    start_barriers(&full, 1, 1);
    std::uint32_t parity = 0;
    const Stopwatch watch;
    for (int i = 0; i < times; ++i, parity ^= 1) {
        barrier_arrive_expect(&full, static_cast<std::uint32_t>(box_bytes));
        bulk_load(box, from + i * stride_bytes, static_cast<std::uint32_t>(box_bytes), &full);
        barrier_wait(&full, parity);
    }
    watch.stop(result);
}

__global__ void store_kernel(char* to, int box_bytes, int times, EngineResult* result) {
    extern __shared__ char raw[];
    if (threadIdx.x != 0) return;
    const char* box = aligned_ring(raw);
    const Stopwatch watch;
    for (int i = 0; i < times; ++i) {
        bulk_wait_read<7>();
        bulk_store(to + i % 64 * box_bytes, box, static_cast<std::uint32_t>(box_bytes));
        bulk_commit();
    }
    bulk_wait<0>();
    watch.stop(result);
}

template <bool kWrite>
__global__ void __launch_bounds__(kThreads) shared_kernel(int conflict, int times, EngineResult* result) {
    extern __shared__ uint4 memory[];
    // A quarter warp of eight lanes fills the 32 banks once. Lanes that conflict lie 128 bytes, eight accesses, apart.
    const int lane = static_cast<int>(threadIdx.x % 8);
    const int place = conflict == 1 ? static_cast<int>(threadIdx.x)
                                    : static_cast<int>(threadIdx.x) / 8 * 8 + lane / conflict + lane % conflict * 1024;
    uint4 value = make_uint4(threadIdx.x, 1, 2, 3);
    for (int i = static_cast<int>(threadIdx.x); i < 9 * 1024; i += kThreads) memory[i] = value;
    __syncthreads();
    const std::uint32_t address = shared_address(&memory[place]);
    const Stopwatch watch;
#pragma unroll 8
    for (int i = 0; i < times; ++i) {
        if constexpr (kWrite) {
            asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y),
                         "r"(value.z), "r"(value.w)
                         : "memory");
        } else {
            uint4 got;
            asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                         : "r"(address)
                         : "memory");
            value.x ^= got.x;
            value.y += got.w;
        }
    }
    __syncthreads();
    if (value.x == 0x12345678U && value.y == 7) memory[0] = value;
    if (threadIdx.x == 0) watch.stop(result);
}

__global__ void barrier_kernel(BarrierPart part, int times, EngineResult* result) {
    __shared__ Barrier first, second;
    if (threadIdx.x == 0) {
        // Counts so that no phase ends while arrivals are timed, and each does in the hand-over.
        start_barriers(&first, 1, part == BarrierPart::arrive ? (1U << 20) - 1 : 1);
        start_barriers(&second, 1, 1);
    }
    __syncthreads();
    const int warp = static_cast<int>(threadIdx.x / 32);
    if (threadIdx.x % 32 != 0) return;
    const Stopwatch watch;
    if (part == BarrierPart::handover) {
        Barrier *mine = warp == 0 ? &first : &second, *other = warp == 0 ? &second : &first;
        for (int i = 0; i < times; ++i) {
            // Warp 0 speaks first; each answers what it heard.
            if (warp == 0) barrier_arrive(mine);
            barrier_wait(other, i & 1);
            if (warp == 1) barrier_arrive(mine);
        }
    } else if (warp == 0) {
        for (int i = 0; i < times; ++i) {
            if (part == BarrierPart::arrive) {
                barrier_arrive(&first);
            } else {
                barrier_wait(&first, 1);  // of a fresh barrier: passes at once
            }
        }
    }
    if (warp == 0) watch.stop(result);
}

__global__ void __launch_bounds__(kThreads) exp2_kernel(int times, float seed, EngineResult* result, float* sink) {
    float a = seed + threadIdx.x * 1e-6f, b = a * 0.5f, c = a * 0.25f, d = a * 0.125f;
    const Stopwatch watch;
#pragma unroll 4
    for (int i = 0; i < times; i += 4) {
        asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(a));
        asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(b));
        asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(c));
        asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(d));
    }
    __syncthreads();
    if (threadIdx.x == 0) watch.stop(result);
    if (a + b + c + d == 0.123f) *sink = a;
}

template <bool kWrite>
__global__ void __launch_bounds__(kThreads) peer_kernel(int cluster, int times, EngineResult* result) {
    __shared__ uint4 memory[kThreads];
    memory[threadIdx.x] = make_uint4(threadIdx.x, 1, 2, 3);
    const std::uint32_t rank = cluster_rank();
    const std::uint32_t address = peer_address(&memory[threadIdx.x], (rank + 1) % static_cast<std::uint32_t>(cluster));
    uint4 value = make_uint4(rank, threadIdx.x, 0, 0);
    cluster_barrier();
    const Stopwatch watch;
#pragma unroll 8
    for (int i = 0; i < times; ++i) {
        if constexpr (kWrite) {
            asm volatile("st.shared::cluster.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y),
                         "r"(value.z), "r"(value.w)
                         : "memory");
        } else {
            uint4 got;
            asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                         : "r"(address)
                         : "memory");
            value.z ^= got.x;
            value.w += got.y;
        }
    }
    cluster_barrier();  // writes have landed, and nobody leaves early
    if (threadIdx.x == 0 && blockIdx.x == 0) watch.stop(result);
    if (value.z == 0x12345678U && value.w == 9) memory[0] = value;
}

/// One thread of each CTA: wait until all CTAs have a free place, load a part, send it to all.
__global__ void multicast_kernel(const __grid_constant__ CUtensorMap map, int cluster, int box_bytes, int times,
                                 EngineResult* result) {
    extern __shared__ char raw[];
    constexpr int kPlaces = 4;
    __shared__ Barrier full[kPlaces], empty[kPlaces];
    char* ring = aligned_ring(raw);
    if (threadIdx.x == 0) {
        start_barriers(full, kPlaces, 1);
        start_barriers(empty, kPlaces, static_cast<std::uint32_t>(cluster));
    }
    cluster_barrier();
    if (threadIdx.x == 0) {
        const std::uint32_t rank = cluster_rank();
        const int part = box_bytes / cluster;
        const auto mask = static_cast<std::uint16_t>((1U << cluster) - 1);
        RingPlace issue, use;
        const Stopwatch watch;
        for (int i = 0; i < times + kPlaces - 1; ++i) {
            if (i < times) {
                barrier_wait_cluster(&empty[issue.stage], issue.parity ^ 1);
                barrier_arrive_expect(&full[issue.stage], static_cast<std::uint32_t>(box_bytes));
                tma_load_2d_multicast(ring + issue.stage * box_bytes + static_cast<int>(rank) * part, &map,
                                      &full[issue.stage], 0, (i % 16 * cluster + static_cast<int>(rank)) * (part / 128),
                                      mask);
                issue.advance(kPlaces);
            }
            if (i >= kPlaces - 1) {
                barrier_wait(&full[use.stage], use.parity);
                for (int peer = 0; peer < cluster; ++peer) {
                    barrier_arrive_remote(&empty[use.stage], static_cast<std::uint32_t>(peer));
                }
                use.advance(kPlaces);
            }
        }
        if (blockIdx.x == 0) watch.stop(result);
    }
    __syncwarp();
    cluster_barrier();
}

Launch one_cta(unsigned threads, std::size_t smem_bytes, cudaStream_t stream) {
    Launch how{.grid = dim3(1), .block = dim3(threads), .smem_bytes = smem_bytes};
    how.stream = stream;
    return how;
}

}  // namespace

void tma_issue(const void* from, int box_bytes, int times, EngineResult* result, cudaStream_t stream) {
    const int places = std::min(kRing, (200 << 10) / box_bytes);
    launch(issue_kernel,
           one_cta(32, static_cast<std::size_t>(places) * static_cast<std::size_t>(box_bytes) + 128, stream),
           static_cast<const char*>(from), box_bytes, places, times, result);
}

void tma_single(const void* from, std::int64_t stride_bytes, int box_bytes, int times, EngineResult* result,
                cudaStream_t stream) {
    launch(single_kernel, one_cta(32, static_cast<std::size_t>(box_bytes) + 128, stream),
           static_cast<const char*>(from), stride_bytes, box_bytes, times, result);
}

void tma_store_rate(void* to, int box_bytes, int times, EngineResult* result, cudaStream_t stream) {
    launch(store_kernel, one_cta(32, static_cast<std::size_t>(box_bytes) + 128, stream), static_cast<char*>(to),
           box_bytes, times, result);
}

void shared_rate(bool write, int conflict, int times, EngineResult* result, cudaStream_t stream) {
    launch(write ? &shared_kernel<true> : &shared_kernel<false>, one_cta(kThreads, 9 * 1024 * sizeof(uint4), stream),
           conflict, times, result);
}

void barrier_cost(BarrierPart part, int times, EngineResult* result, cudaStream_t stream) {
    launch(barrier_kernel, one_cta(64, 0, stream), part, times, result);
}

void exp2_rate(int times, EngineResult* result, cudaStream_t stream) {
    launch(exp2_kernel, one_cta(kThreads, 0, stream), times, 0.3f, result, reinterpret_cast<float*>(result + 1));
}

void peer_rate(bool write, int cluster, int times, EngineResult* result, cudaStream_t stream) {
    Launch how{.grid = dim3(static_cast<unsigned>(cluster)), .block = dim3(kThreads)};
    how.stream = stream;
    how.cluster = static_cast<unsigned>(cluster);
    launch(write ? &peer_kernel<true> : &peer_kernel<false>, how, cluster, times, result);
}

void multicast_rate(const void* from, int cluster, int box_bytes, int times, EngineResult* result,
                    cudaStream_t stream) {
    const int part_rows = box_bytes / cluster / 128;
    const CUtensorMap map = matrix_map(from, Dtype::fp8, static_cast<std::uint64_t>(16 * cluster * part_rows), 128,
                                       static_cast<std::uint32_t>(part_rows), 128, false);
    Launch how{.grid = dim3(static_cast<unsigned>(cluster)), .block = dim3(32)};
    how.smem_bytes = 4 * static_cast<std::size_t>(box_bytes) + 128;
    how.stream = stream;
    how.cluster = static_cast<unsigned>(cluster);
    launch(multicast_kernel, how, map, cluster, box_bytes, times, result);
}

}  // namespace memwall::kernels
