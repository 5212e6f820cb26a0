// The instructions of sm_90a that C++ has no name for, one thin function each: barriers in shared memory, bulk tensor
// copies (TMA), warpgroup matrix products' fences, clusters, clocks. PTX ISA 9.0 has the meaning of each; the names
// here are its names. wgmma itself is in wgmma.cuh, tensor maps in tensor_map.h.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace memwall::kernels {

// ---- addresses, identity, time

/// The 32-bit address that PTX wants for a pointer into shared memory.
__device__ inline std::uint32_t shared_address(const void* pointer) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ inline std::uint32_t sm_id() {
    std::uint32_t id;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
    return id;
}

/// Nanoseconds, the same on every SM; advances in steps of 32 ns on Hopper.
__device__ inline std::uint64_t global_timer() {
    std::uint64_t time;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time)::"memory");
    return time;
}

/// For a CTA that has nothing to do on its SM, where an SM has room for no other: keeps the place until the rest of the
/// grid has surely been dealt to the other SMs. Ended at once, it would make room for a CTA that another SM waits for.
__device__ inline void keep_place() {
    constexpr std::uint64_t kNanoseconds = 20000;
    const std::uint64_t begin = global_timer();
    while (global_timer() - begin < kNanoseconds) {
    }
}

/// SM clock cycles, each SM its own count.
__device__ inline std::uint64_t clock_now() {
    std::uint64_t time;
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(time)::"memory");
    return time;
}

// ---- mbarrier

using Barrier = std::uint64_t;  // in shared memory

__device__ inline void barrier_init(Barrier* barrier, std::uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the cluster and to the asynchronous proxy; a barrier or cluster barrier must
/// follow before another thread uses them.
__device__ inline void fence_barrier_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// Ordinary writes to shared memory become visible to TMA and wgmma.
__device__ inline void fence_async_proxy() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void barrier_arrive(Barrier* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

/// Arrives on the barrier at the same offset in the shared memory of CTA `rank` of the cluster.
__device__ inline void barrier_arrive_remote(Barrier* barrier, std::uint32_t rank) {
    asm volatile(
        "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
        "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}\n" ::"r"(shared_address(barrier)),
        "r"(rank)
        : "memory");
}

/// Arrives, and says that `bytes` more must land before the phase completes.
__device__ inline void barrier_arrive_expect(Barrier* barrier, std::uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

__device__ inline bool barrier_try_wait(Barrier* barrier, std::uint32_t parity) {
    std::uint32_t done;
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
        "selp.b32 %0, 1, 0, p;\n}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
    return done != 0;
}

/// As above, with the ordering that an arrival from another CTA of the cluster needs.
__device__ inline bool barrier_try_wait_cluster(Barrier* barrier, std::uint32_t parity) {
    std::uint32_t done;
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
        "selp.b32 %0, 1, 0, p;\n}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
    return done != 0;
}

/// Waits for the completion of the phase of `parity` (a fresh barrier is in phase 0; waiting for parity 1 passes).
__device__ inline void barrier_wait(Barrier* barrier, std::uint32_t parity) {
    while (!barrier_try_wait(barrier, parity)) {
    }
}
__device__ inline void barrier_wait_cluster(Barrier* barrier, std::uint32_t parity) {
    while (!barrier_try_wait_cluster(barrier, parity)) {
    }
}

/// bar.sync of `threads` threads on hardware barrier `id` (1 to 15; 0 is __syncthreads).
__device__ inline void named_barrier(std::uint32_t id, std::uint32_t threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// A place in a ring of stages: which stage, and the parity of its barriers in this round.
struct RingPlace {
    int stage = 0;
    std::uint32_t parity = 0;
    __device__ void advance(int stages) {
        if (++stage == stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// ---- bulk copies (TMA)

__device__ inline void prefetch_tensor_map(const CUtensorMap* map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/// Copies the box at (x, y), x along the contiguous dimension, into shared memory; its bytes count on `barrier`.
__device__ inline void tma_load_2d(void* to, const CUtensorMap* map, Barrier* barrier, int x, int y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            shared_address(to)),
        "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
        : "memory");
}

__device__ inline void tma_load_4d(void* to, const CUtensorMap* map, Barrier* barrier, int x, int y, int z, int w) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
        "[%2];" ::"r"(shared_address(to)),
        "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
        : "memory");
}

/// The same box into the same offset of every CTA of `mask` (bit = rank in the cluster); the bytes count on the barrier
/// at this barrier's offset in each of them.
__device__ inline void tma_load_2d_multicast(void* to, const CUtensorMap* map, Barrier* barrier, int x, int y,
                                             std::uint16_t mask) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
        "{%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
        "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "h"(mask)
        : "memory");
}

/// Copies a box from shared memory; fence_async_proxy must have ordered the writes that made it.
__device__ inline void tma_store_2d(const CUtensorMap* map, const void* from, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(shared_address(from)), "r"(x), "r"(y)
                 : "memory");
}

/// A plain run of bytes (a multiple of 16, both ends aligned to 16): no tensor map.
__device__ inline void bulk_load(void* to, const void* from, std::uint32_t bytes, Barrier* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

/// What L2 is asked to do with lines of an access, as a cache hint's operand.
__device__ inline std::uint64_t evict_first_policy() {
    std::uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
__device__ inline std::uint64_t evict_last_policy() {
    std::uint64_t policy;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

__device__ inline void bulk_load(void* to, const void* from, std::uint32_t bytes, Barrier* barrier,
                                 std::uint64_t policy) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
        "%4;" ::"r"(shared_address(to)),
        "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
        : "memory");
}

__device__ inline void bulk_store(void* to, const void* from, std::uint32_t bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
                 "r"(bytes)
                 : "memory");
}

__device__ inline void bulk_commit() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Until at most `kPending` groups of this thread's bulk stores still read shared memory.
template <int kPending>
__device__ inline void bulk_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
/// Until at most `kPending` groups of this thread's bulk stores are incomplete.
template <int kPending>
__device__ inline void bulk_wait() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

// ---- clusters

__device__ inline std::uint32_t cluster_rank() {
    std::uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
/// All threads of all CTAs of the cluster.
__device__ inline void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// The shared::cluster address of `pointer`'s offset in CTA `rank`.
__device__ inline std::uint32_t peer_address(const void* pointer, std::uint32_t rank) {
    std::uint32_t address;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(pointer)), "r"(rank));
    return address;
}

// ---- warpgroups

template <int kRegisters>
__device__ inline void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// Before the first wgmma, and whenever other instructions touched its registers.
__device__ inline void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most `kPending` groups of this warpgroup are unfinished.
template <int kPending>
__device__ inline void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// ---- programmatic dependent launch: nothing happens in a kernel that was launched without it

/// The next kernel may start.
__device__ inline void trigger_dependents() {
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
/// Waits until the kernels before this one are complete and their writes visible.
__device__ inline void wait_dependency() {
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

}  // namespace memwall::kernels
