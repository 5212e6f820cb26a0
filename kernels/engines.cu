#include <algorithm>

#include "engines.h"
#include "hopper.cuh"
#include "stream_layout.h"

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
        result->cycles = end_cycles - cycles;
        result->ns = end_ns - ns;
    }
};

__device__ void count_wrong(bool wrong, EngineResult* result) {
    if (wrong) atomicAdd(&result->wrong, 1ULL);
}

__device__ bool same_words(const uint4& a, const uint4& b) {
    return a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w;
}

/// Whether `bytes` of shared memory, by this thread alone, are those of `right` in global memory.
__device__ bool same_bytes(const char* box, const char* right, int bytes) {
    bool same = true;
    for (int at = 0; at < bytes; at += 16) {
        const bool equal =
            same_words(*reinterpret_cast<const uint4*>(box + at), __ldcg(reinterpret_cast<const uint4*>(right + at)));
        same = same && equal;
    }
    return same;
}

__device__ void start_barriers(Barrier* barriers, int count, std::uint32_t arrivals) {
    for (int i = 0; i < count; ++i) barrier_init(&barriers[i], arrivals);
    fence_barrier_init();
    fence_async_proxy();
}

/// `group` boxes count on one barrier, `places` groups are under way.
struct Issue {
    const char* from;  ///< 64 boxes
    int box_bytes, group, places, groups;
};

/// kTensor: boxes of rows of 128 bytes by a tensor map, else runs of bytes.
template <bool kTensor>
__global__ void issue_kernel(const __grid_constant__ CUtensorMap map, const __grid_constant__ Issue issue,
                             EngineResult* result) {
    extern __shared__ char raw[];
    __shared__ Barrier full[kRing];
    if (threadIdx.x != 0) return;
    char* ring = aligned_ring(raw);
    start_barriers(full, issue.places, 1);
    const auto bytes = static_cast<std::uint32_t>(issue.box_bytes);
    const int group_bytes = issue.group * issue.box_bytes, rows = issue.box_bytes / 128;
    RingPlace fill, drain;
    int box = 0;
    const Stopwatch watch;
    for (int group = 0; group < issue.groups; ++group) {
        if (group >= issue.places) {
            barrier_wait(&full[drain.stage], drain.parity);
            drain.advance(issue.places);
        }
        char* to = ring + fill.stage * group_bytes;
        barrier_arrive_expect(&full[fill.stage], static_cast<std::uint32_t>(group_bytes));
        for (int i = 0; i < issue.group; ++i, box = (box + 1) % 64, to += issue.box_bytes) {
            if constexpr (kTensor) {
                tma_load_2d(to, &map, &full[fill.stage], 0, box * rows);
            } else {
                bulk_load(to, issue.from + box * issue.box_bytes, bytes, &full[fill.stage]);
            }
        }
        fill.advance(issue.places);
    }
    for (int i = min(issue.groups, issue.places); i > 0; --i) {
        barrier_wait(&full[drain.stage], drain.parity);
        drain.advance(issue.places);
    }
    watch.stop(result);
    // The last groups are still there.
    for (int group = max(0, issue.groups - issue.places); group < issue.groups; ++group) {
        for (int i = 0; i < issue.group; ++i) {
            const char* landed = ring + group % issue.places * group_bytes + i * issue.box_bytes;
            const char* right = issue.from + (group * issue.group + i) % 64 * issue.box_bytes;
            count_wrong(!same_bytes(landed, right, issue.box_bytes), result);
        }
    }
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
    count_wrong(!same_bytes(box, from + (times - 1) * stride_bytes, box_bytes), result);
}

/// kUnderWay stores on their way at most; 1: each is complete before the next.
template <int kUnderWay>
__global__ void store_kernel(char* to, int box_bytes, int times, EngineResult* result) {
    extern __shared__ char raw[];
    char* box = aligned_ring(raw);
    for (int i = static_cast<int>(threadIdx.x); i < box_bytes / 4; i += 32) {
        reinterpret_cast<std::uint32_t*>(box)[i] = written_word(static_cast<std::uint32_t>(i / 4), i % 4);
    }
    fence_async_proxy();
    __syncwarp();
    if (threadIdx.x != 0) return;
    const Stopwatch watch;
    for (int i = 0; i < times; ++i) {
        bulk_store(to + i % 64 * box_bytes, box, static_cast<std::uint32_t>(box_bytes));
        bulk_commit();
        bulk_wait<kUnderWay - 1>();
    }
    bulk_wait<0>();
    watch.stop(result);
    for (int i = 0; i < 64; i += 21) count_wrong(!same_bytes(box, to + i * box_bytes, box_bytes), result);
}

// Accesses that are repeated to no effect would be merged, hoisted or dropped: here each load's address waits for the
// load before (its first word is zero; the 32 warps hide that), every word is used, and stores are volatile.

/// What lies at `place` of a shared memory that is read.
__device__ uint4 read_words(std::uint32_t place) {
    return make_uint4(0, written_word(place, 1), written_word(place, 2), written_word(place, 3));
}

template <bool kPeer>
__device__ std::uint32_t load_times(std::uint32_t address, int times) {
    std::uint32_t sum = 0;
#pragma unroll 8
    for (int i = 0; i < times; ++i) {
        uint4 got;
        if constexpr (kPeer) {
            asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                         : "r"(address)
                         : "memory");
        } else {
            asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                         : "r"(address)
                         : "memory");
        }
        address += got.x;
        sum += got.y + got.z + got.w;
    }
    return sum;
}

template <bool kPeer>
__device__ void store_times(std::uint32_t address, const uint4& value, int times) {
#pragma unroll 8
    for (int i = 0; i < times; ++i) {
        if constexpr (kPeer) {
            asm volatile("st.volatile.shared::cluster.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x),
                         "r"(value.y), "r"(value.z), "r"(value.w)
                         : "memory");
        } else {
            asm volatile("st.volatile.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y),
                         "r"(value.z), "r"(value.w)
                         : "memory");
        }
    }
}

__device__ bool sum_is_right(std::uint32_t sum, std::uint32_t place, int times) {
    const uint4 words = read_words(place);
    return sum == static_cast<std::uint32_t>(times) * (words.y + words.z + words.w);
}

/// What thread `thread` of the CTA of `rank` writes.
__device__ uint4 own_words(std::uint32_t thread, std::uint32_t rank) {
    return make_uint4(written_word(thread, 0), written_word(thread, 1), written_word(thread, 2), rank);
}

template <bool kWrite>
__global__ void __launch_bounds__(kThreads) shared_kernel(int conflict, int times, EngineResult* result) {
    extern __shared__ uint4 memory[];
    // A quarter warp of eight lanes fills the 32 banks once. Lanes that conflict lie 1,024 places, a multiple of all
    // banks, apart.
    const auto ways = static_cast<std::uint32_t>(conflict);
    const std::uint32_t lane = threadIdx.x % 8;
    const std::uint32_t place = ways == 1 ? threadIdx.x : threadIdx.x / 8 * 8 + lane / ways + lane % ways * kThreads;
    for (std::uint32_t i = threadIdx.x; i < 9 * kThreads; i += kThreads) memory[i] = read_words(i);
    __syncthreads();
    const std::uint32_t address = shared_address(&memory[place]);
    const uint4 mine = own_words(threadIdx.x, 0);
    [[maybe_unused]] std::uint32_t sum = 0;
    const Stopwatch watch;
    if constexpr (kWrite) {
        store_times<false>(address, mine, times);
    } else {
        sum = load_times<false>(address, times);
    }
    __syncthreads();
    if (threadIdx.x == 0) watch.stop(result);
    count_wrong(kWrite ? !same_words(memory[place], mine) : !sum_is_right(sum, place, times), result);
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

/// x = 2^-x again and again, four chains a thread: whatever the start, each comes to 0.641186.
__global__ void __launch_bounds__(kThreads) exp2_kernel(int times, EngineResult* result) {
    float x[4];
    for (int i = 0; i < 4; ++i) x[i] = 1e-3f * static_cast<float>(threadIdx.x % 512) + 0.1f * static_cast<float>(i);
    const Stopwatch watch;
#pragma unroll 4
    for (int i = 0; i < times; i += 4) {
#pragma unroll
        for (float& value : x) asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(-value));
    }
    __syncthreads();
    if (threadIdx.x == 0) watch.stop(result);
    for (const float value : x) count_wrong(!(fabsf(value - 0.641186f) < 1e-5f), result);
}

template <bool kWrite>
__global__ void __launch_bounds__(kThreads) peer_kernel(int cluster, int times, EngineResult* result) {
    __shared__ uint4 memory[kThreads];
    memory[threadIdx.x] = read_words(threadIdx.x);
    const auto ctas = static_cast<std::uint32_t>(cluster);
    const std::uint32_t rank = cluster_rank();
    const std::uint32_t address = peer_address(&memory[threadIdx.x], (rank + 1) % ctas);
    const uint4 mine = own_words(threadIdx.x, rank);
    [[maybe_unused]] std::uint32_t sum = 0;
    cluster_barrier();
    const Stopwatch watch;
    if constexpr (kWrite) {
        store_times<true>(address, mine, times);
    } else {
        sum = load_times<true>(address, times);
    }
    cluster_barrier();  // writes have landed, and nobody leaves early
    if (threadIdx.x == 0 && blockIdx.x == 0) watch.stop(result);
    const uint4 landed = own_words(threadIdx.x, (rank + ctas - 1) % ctas);
    count_wrong(kWrite ? !same_words(memory[threadIdx.x], landed) : !sum_is_right(sum, threadIdx.x, times), result);
}

/// One thread of each CTA: wait until all CTAs have a free place, load a part, send it to all. `times`: a multiple of
/// the places.
__global__ void multicast_kernel(const __grid_constant__ CUtensorMap map, const char* from, int cluster, int box_bytes,
                                 int times, EngineResult* result) {
    extern __shared__ char raw[];
    constexpr int kPlaces = 4;
    __shared__ Barrier full[kPlaces], empty[kPlaces];
    char* ring = aligned_ring(raw);
    if (threadIdx.x == 0) {
        start_barriers(full, kPlaces, 1);
        start_barriers(empty, kPlaces, static_cast<std::uint32_t>(cluster));
    }
    __syncwarp();
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
        // The last boxes are still there, all parts of each.
        for (int i = times - kPlaces; i < times; ++i) {
            count_wrong(!same_bytes(ring + i % kPlaces * box_bytes, from + i % 16 * box_bytes, box_bytes), result);
        }
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

void tma_issue(const void* from, int box_bytes, int rank, int times, EngineResult* result, cudaStream_t stream) {
    if (rank == 2 && box_bytes % 128 != 0) throw CudaError("tma_issue: boxes of rank 2 have rows of 128 bytes");
    // Up to 128 small boxes are under way: at 16, arrival after some 700 cycles would hide an order every 40.
    const int group = std::clamp(8192 / box_bytes, 1, 8), group_bytes = group * box_bytes;
    const int places = std::min(kRing, (200 << 10) / group_bytes);
    const Issue issue{static_cast<const char*>(from), box_bytes, group, places, times / group};
    const Launch how = one_cta(32, static_cast<std::size_t>(places * group_bytes) + 128, stream);
    if (rank == 1) return launch(issue_kernel<false>, how, CUtensorMap{}, issue, result);
    const auto rows = static_cast<std::uint32_t>(box_bytes / 128);
    launch(issue_kernel<true>, how, matrix_map(from, Dtype::fp8, 64 * rows, 128, rows, 128, false), issue, result);
}

void tma_single(const void* from, std::int64_t stride_bytes, int box_bytes, int times, EngineResult* result,
                cudaStream_t stream) {
    launch(single_kernel, one_cta(32, static_cast<std::size_t>(box_bytes) + 128, stream),
           static_cast<const char*>(from), stride_bytes, box_bytes, times, result);
}

void tma_store_rate(void* to, int box_bytes, int under_way, int times, EngineResult* result, cudaStream_t stream) {
    if (under_way != 1 && under_way != 8) throw CudaError("tma_store: 1 or 8 stores under way");
    launch(under_way == 1 ? &store_kernel<1> : &store_kernel<8>,
           one_cta(32, static_cast<std::size_t>(box_bytes) + 128, stream), static_cast<char*>(to), box_bytes, times,
           result);
}

void shared_rate(bool write, int conflict, int times, EngineResult* result, cudaStream_t stream) {
    launch(write ? &shared_kernel<true> : &shared_kernel<false>, one_cta(kThreads, 9 * 1024 * sizeof(uint4), stream),
           conflict, times, result);
}

void barrier_cost(BarrierPart part, int times, EngineResult* result, cudaStream_t stream) {
    launch(barrier_kernel, one_cta(64, 0, stream), part, times, result);
}

void exp2_rate(int times, EngineResult* result, cudaStream_t stream) {
    launch(exp2_kernel, one_cta(kThreads, 0, stream), times, result);
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
    launch(multicast_kernel, how, map, static_cast<const char*>(from), cluster, box_bytes, times, result);
}

}  // namespace memwall::kernels
