// The tile GEMM. One producer thread keeps a ring of stages full by TMA; each consumer warpgroup multiplies 64 rows (or
// twice 64) of the tile with wgmma and releases a stage when the product after it is under way. Tiles lie in shared
// memory as columns of 128-byte rows with a 128-byte swizzle, which is what wgmma's descriptors want.
//
// With clusters of two along m, each CTA loads its own A tile and half of the B tile, which goes to both by multicast:
// a stage is empty when the consumers of both CTAs say so.
#pragma once

#include <cuda_bf16.h>

#include "gemm_order.h"
#include "gemm_tiles.h"
#include "hopper.cuh"
#include "recorder.h"
#include "wgmma.cuh"

namespace memwall::kernels {

inline constexpr int kRowBytes = 128;  // of a swizzled column

/// What is fixed when the kernel is compiled: entry kIndex of kGemmTiles.
template <std::size_t kIndex>
struct GemmTile {
    static constexpr GemmTileShape kShape = kGemmTiles[kIndex];
    static constexpr int kElementBytes = kShape.element_bytes, kM = kShape.m, kN = kShape.n, kK = kShape.k;
    static constexpr int kCluster = kShape.cluster;
    static constexpr int kColumn = kRowBytes / kElementBytes;  // elements of k in a swizzled column
    static constexpr int kColumns = kK / kColumn;
    static constexpr int kGroups = kShape.groups();   // consumer warpgroups
    static constexpr int kAtoms = kM / 64 / kGroups;  // 64-row products of each
    static constexpr int kThreads = 128 * (kGroups + 1);
    static constexpr int kABytes = kM * kK * kElementBytes;
    static constexpr int kStageBytes = static_cast<int>(kShape.stage_bytes());
    static constexpr int kStoreBytes = 64 * kRowBytes;  // a 64 x 64 block of C on its way out
    static_assert(kK % kColumn == 0 && kN % 64 == 0 && kM % 64 == 0 && kN / kCluster % 8 == 0);
};

struct GemmArguments {
    GemmOrder order;
    int stages;
    int m, n;
    float* partial;  ///< [split][m][n] when k is split, else null: C goes out by TMA
    TileLog log;
};

/// Shared memory cut up; the ring starts at a multiple of 1024 bytes, as the swizzle's pattern does.
template <class Tile>
struct GemmShared {
    char* ring;
    char* out;
    Barrier *full, *empty;

    __device__ GemmShared(char* raw, int stages) {
        ring = raw + ((1024 - (shared_address(raw) & 1023)) & 1023);
        out = ring + stages * Tile::kStageBytes;
        full = reinterpret_cast<Barrier*>(out + Tile::kShape.out_bytes());
        empty = full + kMostGemmStages;
    }
    __device__ char* a(int stage) const { return ring + stage * Tile::kStageBytes; }
    __device__ char* b(int stage) const { return a(stage) + Tile::kABytes; }
};

template <class Tile>
__device__ void load_stage(const GemmShared<Tile>& shared, const CUtensorMap* a, const CUtensorMap* b, int stage,
                           const GemmItem& item, int step, int rank) {
    Barrier* full = &shared.full[stage];
    barrier_arrive_expect(full, Tile::kStageBytes);
    const int row = (item.m_tile + rank) * Tile::kM;
    constexpr int kPart = Tile::kN / Tile::kCluster;  // B rows that this CTA brings
#pragma unroll
    for (int column = 0; column < Tile::kColumns; ++column) {
        const int x = step * Tile::kK + column * Tile::kColumn;
        tma_load_2d(shared.a(stage) + column * Tile::kM * kRowBytes, a, full, x, row);
        char* to = shared.b(stage) + (column * Tile::kN + rank * kPart) * kRowBytes;
        const int y = item.n_tile * Tile::kN + rank * kPart;
        if constexpr (Tile::kCluster == 1) {
            tma_load_2d(to, b, full, x, y);
        } else {
            tma_load_2d_multicast(to, b, full, x, y, (1U << Tile::kCluster) - 1);
        }
    }
}

/// One warp's word that it has read a stage: to its own CTA, and to those that multicast into it.
template <class Tile>
__device__ void release_stage(Barrier* empty) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    if constexpr (Tile::kCluster == 1) {
        if (lane == 0) barrier_arrive(empty);
    } else {
        if (lane < Tile::kCluster) barrier_arrive_remote(empty, static_cast<std::uint32_t>(lane));
    }
}

template <class Tile, bool kRecord>
__device__ void produce(const GemmShared<Tile>& shared, const CUtensorMap* a, const CUtensorMap* b,
                        const GemmArguments& args, int rank, int first, int stride) {
    RingPlace place;
    std::uint32_t count = 0;
    for (int index = first; index < args.order.items(); index += stride) {
        const GemmItem item = args.order.item(index);
        for (int step = item.first_step; step < item.end_step; ++step) {
            barrier_wait_cluster(&shared.empty[place.stage], place.parity ^ 1);
            if constexpr (kRecord) {
                if (count < args.log.capacity) {
                    TileEvent& event = args.log.events[blockIdx.x * args.log.capacity + count];
                    event.item = static_cast<std::uint32_t>(index);
                    event.step = static_cast<std::uint32_t>(step - item.first_step);
                    event.load_issued = clock_now();
                }
                ++count;
            }
            load_stage(shared, a, b, place.stage, item, step, rank);
            place.advance(args.stages);
        }
    }
}

/// The products of one stage for one warpgroup, put on their way.
template <class Tile>
__device__ void multiply_stage(float (&acc)[Tile::kAtoms][Tile::kN / 2], const char* a, const char* b, int group,
                               bool accumulate) {
    wgmma_fence();
#pragma unroll
    for (int column = 0; column < Tile::kColumns; ++column) {
        const std::uint64_t to_b = descriptor_k_major(b + column * Tile::kN * kRowBytes);
#pragma unroll
        for (int atom = 0; atom < Tile::kAtoms; ++atom) {
            const int row = (group * Tile::kAtoms + atom) * 64;
            const std::uint64_t to_a = descriptor_k_major(a + (column * Tile::kM + row) * kRowBytes);
#pragma unroll
            for (int at = 0; at < kRowBytes; at += 32) {
                const bool add = accumulate || column > 0 || at > 0;
                if constexpr (Tile::kElementBytes == 2) {
                    wgmma_bf16(acc[atom], advanced(to_a, at), advanced(to_b, at), add);
                } else {
                    wgmma_fp8(acc[atom], advanced(to_a, at), advanced(to_b, at), add);
                }
            }
        }
    }
    wgmma_commit();
}

/// C by TMA: blocks of 64 x 64 through two buffers of this warpgroup, so that one fills while the other leaves. A row
/// of a block has 128 bytes; its 16-byte units are swizzled as the tensor map says, which also keeps the eight rows
/// that a warp writes at a time in different banks. `turn`: whose turn it is of the two, kept from tile to tile.
template <class Tile>
__device__ void store_tile(const float (&acc)[Tile::kAtoms][Tile::kN / 2], const CUtensorMap* c, char* out, int group,
                           int row, int col, int& turn) {
    const int thread = static_cast<int>(threadIdx.x % 128), lane = thread % 32;
    const int in_row = thread / 32 * 16 + lane / 4;
    const auto barrier = static_cast<std::uint32_t>(1 + group);
#pragma unroll
    for (int atom = 0; atom < Tile::kAtoms; ++atom) {
#pragma unroll
        for (int block = 0; block < Tile::kN / 64; ++block, turn ^= 1) {
            char* buffer = out + (group * 2 + turn) * Tile::kStoreBytes;
            if (thread == 0) bulk_wait_read<1>();  // the store before last has left this buffer
            named_barrier(barrier, 128);
#pragma unroll
            for (int unit = 0; unit < 8; ++unit) {
                const float* d = &acc[atom][block * 32 + unit * 4];
                char* to = buffer + in_row * kRowBytes + ((unit ^ (in_row % 8)) * 16) + lane % 4 * 4;
                *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(d[0], d[1]);
                *reinterpret_cast<__nv_bfloat162*>(to + 8 * kRowBytes) = __floats2bfloat162_rn(d[2], d[3]);
            }
            fence_async_proxy();
            named_barrier(barrier, 128);
            if (thread == 0) {
                tma_store_2d(c, buffer, col + block * 64, row + (group * Tile::kAtoms + atom) * 64);
                bulk_commit();
            }
        }
    }
}

/// A part of k: fp32 sums of their own, in pairs; four lanes fill a sector.
template <class Tile>
__device__ void store_partial(const float (&acc)[Tile::kAtoms][Tile::kN / 2], float* partial, int group, int row,
                              int col, int m, int n) {
    const int thread = static_cast<int>(threadIdx.x % 128), lane = thread % 32;
#pragma unroll
    for (int atom = 0; atom < Tile::kAtoms; ++atom) {
        const int y = row + (group * Tile::kAtoms + atom) * 64 + thread / 32 * 16 + lane / 4;
#pragma unroll
        for (int unit = 0; unit < Tile::kN / 8; ++unit) {
            const float* d = &acc[atom][unit * 4];
            const int x = col + unit * 8 + lane % 4 * 2;
            if (x >= n) continue;  // n is a multiple of 8
            float* to = partial + static_cast<std::int64_t>(y) * n + x;
            if (y < m) *reinterpret_cast<float2*>(to) = make_float2(d[0], d[1]);
            if (y + 8 < m) *reinterpret_cast<float2*>(to + 8 * static_cast<std::int64_t>(n)) = make_float2(d[2], d[3]);
        }
    }
}

/// The recorder of one warpgroup's first thread: when a stage had landed, when its products began and were done.
template <bool kRecord>
struct ConsumerLog {
    const TileLog& log;
    std::uint32_t count = 0;

    __device__ TileEvent* event(std::uint32_t which) const {
        return which < log.capacity ? &log.events[blockIdx.x * log.capacity + which] : nullptr;
    }
    __device__ void begun(std::uint64_t landed) {
        if constexpr (kRecord) {
            if (threadIdx.x == 128) {
                if (TileEvent* e = event(count)) {
                    e->sm = sm_id();
                    e->cta = blockIdx.x;
                    e->load_landed = landed;
                    e->compute_begun = clock_now();
                }
            }
            ++count;
        }
    }
    /// The step `before` the latest is done (0: the latest).
    __device__ void done(std::uint32_t before) {
        if constexpr (kRecord) {
            if (threadIdx.x == 128) {
                if (TileEvent* e = event(count - 1 - before)) e->compute_done = clock_now();
            }
        }
    }
};

template <class Tile, bool kRecord>
__device__ void consume(const GemmShared<Tile>& shared, const CUtensorMap* c, const GemmArguments& args, int rank,
                        int first, int stride) {
    const int group = static_cast<int>(threadIdx.x / 128) - 1;
    float acc[Tile::kAtoms][Tile::kN / 2];
    RingPlace place;
    int turn = 0;
    ConsumerLog<kRecord> log{args.log};
    for (int index = first; index < args.order.items(); index += stride) {
        const GemmItem item = args.order.item(index);
        int held = -1;  // the stage whose products may still be under way
        for (int step = item.first_step; step < item.end_step; ++step) {
            barrier_wait(&shared.full[place.stage], place.parity);
            if constexpr (kRecord) log.begun(clock_now());
            multiply_stage<Tile>(acc, shared.a(place.stage), shared.b(place.stage), group, step > item.first_step);
            if (args.stages == 1) {  // nothing else to work on while this one is read
                wgmma_wait<0>();
                if constexpr (kRecord) log.done(0);
                release_stage<Tile>(&shared.empty[place.stage]);
            } else {
                wgmma_wait<1>();
                if (held >= 0) {
                    if constexpr (kRecord) log.done(1);
                    release_stage<Tile>(&shared.empty[held]);
                }
                held = place.stage;
            }
            place.advance(args.stages);
        }
        wgmma_wait<0>();
        if (held >= 0) {
            if constexpr (kRecord) log.done(0);
            release_stage<Tile>(&shared.empty[held]);
        }
        const int row = (item.m_tile + rank) * Tile::kM, col = item.n_tile * Tile::kN;
        if (args.partial == nullptr) {
            store_tile<Tile>(acc, c, shared.out, group, row, col, turn);
        } else {
            float* partial = args.partial + static_cast<std::int64_t>(item.split) * args.m * args.n;
            store_partial<Tile>(acc, partial, group, row, col, args.m, args.n);
        }
    }
    if (threadIdx.x % 128 == 0) bulk_wait<0>();  // shared memory is read, and C written, before the CTA ends
    if constexpr (kRecord) {
        if (threadIdx.x == 128) args.log.counts[blockIdx.x] = log.count;
    }
}

template <class Tile>
__device__ void initialise_barriers(const GemmShared<Tile>& shared, int stages) {
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < stages; ++stage) {
            barrier_init(&shared.full[stage], 1);                                    // the producer's expectation
            barrier_init(&shared.empty[stage], 4 * Tile::kGroups * Tile::kCluster);  // every consumer warp
        }
        fence_barrier_init();
    }
    if constexpr (Tile::kCluster > 1) {
        cluster_barrier();
    } else {
        __syncthreads();
    }
}

template <class Tile, bool kRecord>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    gemm_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                const __grid_constant__ CUtensorMap c, const __grid_constant__ GemmArguments args) {
    extern __shared__ char raw[];
    const GemmShared<Tile> shared(raw, args.stages);
    ClockPair clocks{};
    if constexpr (kRecord) clocks = {clock_now(), global_timer(), 0, 0};
    trigger_dependents();
    if (threadIdx.x == 0) {
        prefetch_tensor_map(&a);
        prefetch_tensor_map(&b);
        prefetch_tensor_map(&c);
    }
    initialise_barriers<Tile>(shared, args.stages);
    wait_dependency();

    const int rank = Tile::kCluster > 1 ? static_cast<int>(cluster_rank()) : 0;
    const int first = static_cast<int>(blockIdx.x) / Tile::kCluster,
              stride = static_cast<int>(gridDim.x) / Tile::kCluster;
    if (threadIdx.x < 128) {
        if constexpr (Tile::kGroups == 2) give_registers<40>();
        if (threadIdx.x == 0) produce<Tile, kRecord>(shared, &a, &b, args, rank, first, stride);
        __syncwarp();
    } else {
        if constexpr (Tile::kGroups == 2) take_registers<232>();
        consume<Tile, kRecord>(shared, &c, args, rank, first, stride);
    }
    if constexpr (kRecord) {
        __syncthreads();
        if (threadIdx.x == 0) {
            clocks.end_cycles = clock_now();
            clocks.end_ns = global_timer();
            args.log.clocks[blockIdx.x] = clocks;
        }
    }
    // A peer still multicasts into this CTA, or arrives on its barriers, until it is done too.
    if constexpr (Tile::kCluster > 1) cluster_barrier();
}

}  // namespace memwall::kernels
