#include "chase.h"
#include "hopper.cuh"
#include "host.h"

namespace memwall::kernels {

namespace {

constexpr std::size_t kOnePerSmBytes = 200 << 10;  // so much shared memory that an SM holds one CTA
constexpr std::uint32_t kMostBoxBytes = 16384;

template <ChasePath kPath>
__device__ std::uint64_t loaded(const char* address) {
    std::uint64_t value;
    if constexpr (kPath == ChasePath::l1) {
        asm volatile("ld.global.ca.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
    } else {
        asm volatile("ld.global.cg.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
    }
    return value;
}

/// Waits until `value` is there: an instruction that needs it, and never traps for an index or a shared address.
__device__ void settle(std::uint64_t value) {
    asm volatile("{\n.reg .pred p;\nsetp.eq.u64 p, %0, 0xffffffffffffffff;\n@p trap;\n}\n" ::"l"(value) : "memory");
}

__device__ void write_result(ChaseResult& result, std::uint64_t cycles, std::uint64_t ns, std::uint64_t last) {
    result = {cycles, ns, last, sm_id(), 1};
}

template <ChasePath kPath>
__global__ void chase_kernel(const __grid_constant__ ChaseArguments args, int chains_per_cta, ChaseResult* results) {
    if (args.only_sm >= 0 && sm_id() != static_cast<std::uint32_t>(args.only_sm)) return keep_place();
    if (threadIdx.x % 32 != 0) return;
    const bool chosen = args.only_sm >= 0;
    const std::uint64_t chains = chosen ? 1 : static_cast<std::uint64_t>(gridDim.x) * chains_per_cta;
    const std::uint64_t chain = chosen ? 0 : static_cast<std::uint64_t>(blockIdx.x) * chains_per_cta + threadIdx.x / 32;
    std::uint64_t at = args.resume ? results[chain].last : chain * args.entries / chains;
    const char* base = reinterpret_cast<const char*>(args.chain);
    for (std::uint64_t i = 0; i < args.warm_hops; ++i) at = loaded<kPath>(base + at * args.stride_bytes);
    const std::uint64_t cycles = clock_now(), ns = global_timer();
    for (std::uint64_t i = 0; i < args.hops; ++i) at = loaded<kPath>(base + at * args.stride_bytes);
    // The last index is stored after the clock is read: the loop's loads are done because each needs the one before,
    // and the volatile reads keep their order with the loads.
    const std::uint64_t end_cycles = clock_now(), end_ns = global_timer();
    write_result(results[chain], end_cycles - cycles, end_ns - ns, at);
}

/// One thread: order a box, wait for it, read where the next one is.
__global__ void chase_tma_kernel(const __grid_constant__ ChaseArguments args, ChaseResult* results) {
    extern __shared__ __align__(128) char box[];
    __shared__ Barrier landed;
    if (args.only_sm >= 0 && sm_id() != static_cast<std::uint32_t>(args.only_sm)) return keep_place();
    if (threadIdx.x != 0) return;
    barrier_init(&landed, 1);
    fence_barrier_init();
    fence_async_proxy();
    const char* base = reinterpret_cast<const char*>(args.chain);
    const std::uint64_t chain = args.only_sm >= 0 ? 0 : blockIdx.x;
    std::uint64_t at = args.resume ? results[chain].last : args.only_sm >= 0 ? 0 : chain * args.entries / gridDim.x;
    std::uint32_t parity = 0;
    std::uint64_t cycles = 0, ns = 0;
    for (std::uint64_t i = 0; i < args.warm_hops + args.hops; ++i) {
        if (i == args.warm_hops) {
            cycles = clock_now();
            ns = global_timer();
        }
        barrier_arrive_expect(&landed, args.box_bytes);
        bulk_load(box, base + at * args.stride_bytes, args.box_bytes, &landed);
        barrier_wait(&landed, parity);
        parity ^= 1;
        at = *reinterpret_cast<volatile std::uint64_t*>(box);
    }
    write_result(results[chain], clock_now() - cycles, global_timer() - ns, at);
}

__global__ void chase_shared_kernel(std::uint32_t entries, std::uint64_t hops, ChaseResult* result) {
    extern __shared__ std::uint32_t next[];
    // A stride that shares no factor with a power of two visits every entry.
    if (threadIdx.x != 0) return;
    for (std::uint32_t i = 0; i < entries; ++i) next[i] = shared_address(&next[(i + 97) % entries]);
    std::uint32_t at = shared_address(&next[0]);
    const std::uint64_t cycles = clock_now(), ns = global_timer();
    for (std::uint64_t i = 0; i < hops; ++i) {
        asm volatile("ld.shared.u32 %0, [%0];" : "+r"(at)::"memory");
    }
    settle(at);
    const std::uint64_t end_cycles = clock_now(), end_ns = global_timer();
    write_result(*result, end_cycles - cycles, end_ns - ns, (at - shared_address(&next[0])) / 4);
}

__global__ void chase_peer_kernel(int peer, std::uint64_t hops, ChaseResult* result) {
    constexpr int kEntries = 1024;
    __shared__ std::uint32_t next[kEntries];
    // Entry i holds the peer's address of entry i + 97: the chain stays in the peer's shared memory.
    const std::uint32_t base = peer_address(next, static_cast<std::uint32_t>(peer));
    for (int i = static_cast<int>(threadIdx.x); i < kEntries; i += static_cast<int>(blockDim.x)) {
        next[i] = base + static_cast<std::uint32_t>((i + 97) % kEntries) * 4;
    }
    cluster_barrier();
    if (cluster_rank() == 0 && threadIdx.x == 0) {
        std::uint32_t at = base;
        const std::uint64_t cycles = clock_now(), ns = global_timer();
        for (std::uint64_t i = 0; i < hops; ++i) {
            asm volatile("ld.shared::cluster.u32 %0, [%0];" : "+r"(at)::"memory");
        }
        settle(at);
        const std::uint64_t end_cycles = clock_now(), end_ns = global_timer();
        write_result(*result, end_cycles - cycles, end_ns - ns, (at - base) / 4);
    }
    cluster_barrier();  // the peer's shared memory lives until the chain has ended
}

__global__ void write_chain_kernel(char* chain, std::uint32_t stride_bytes, const std::uint64_t* successors,
                                   std::uint64_t entries) {
    const std::uint64_t stride = static_cast<std::uint64_t>(gridDim.x) * blockDim.x;
    for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < entries;
         i += stride) {
        *reinterpret_cast<std::uint64_t*>(chain + i * stride_bytes) = successors[i];
    }
}

}  // namespace

void chase(ChasePath path, const ChaseArguments& args, int ctas, int chains_per_cta, ChaseResult* results,
           cudaStream_t stream) {
    const bool chosen = args.only_sm >= 0;
    Launch how{.grid = dim3(static_cast<unsigned>(chosen ? multiprocessors() : ctas)),
               .block = dim3(static_cast<unsigned>(32 * chains_per_cta)),
               .smem_bytes = chosen ? kOnePerSmBytes : 0,
               .stream = stream};
    if (path == ChasePath::tma) {
        if (chains_per_cta != 1 || args.box_bytes % 16 != 0 || args.box_bytes > kMostBoxBytes ||
            args.box_bytes > args.stride_bytes || args.stride_bytes % 16 != 0) {
            throw CudaError("chase by TMA: one chain a CTA, boxes of 16 to 16,384 bytes that fit the stride");
        }
        how.smem_bytes = chosen ? kOnePerSmBytes : kMostBoxBytes;
        return launch(chase_tma_kernel, how, args, results);
    }
    launch(path == ChasePath::l1 ? &chase_kernel<ChasePath::l1> : &chase_kernel<ChasePath::l2>, how, args,
           chains_per_cta, results);
}

void chase_shared(std::uint32_t entries, std::uint64_t hops, ChaseResult* result, cudaStream_t stream) {
    launch(chase_shared_kernel,
           {.grid = dim3(1), .block = dim3(32), .smem_bytes = entries * sizeof(std::uint32_t), .stream = stream},
           entries, hops, result);
}

void chase_peer(int cluster, int peer, std::uint64_t hops, ChaseResult* result, cudaStream_t stream) {
    launch(chase_peer_kernel,
           {.grid = dim3(static_cast<unsigned>(cluster)),
            .block = dim3(128),
            .stream = stream,
            .cluster = static_cast<unsigned>(cluster)},
           peer, hops, result);
}

void write_chain(std::uint64_t* chain, std::uint32_t stride_bytes, const std::uint64_t* successors,
                 std::uint64_t entries, cudaStream_t stream) {
    launch(write_chain_kernel, {.grid = dim3(1024), .block = dim3(256), .stream = stream},
           reinterpret_cast<char*>(chain), stride_bytes, successors, entries);
}

}  // namespace memwall::kernels
