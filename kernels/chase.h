// Chains of dependent loads: what a load takes when nothing hides it. Shared memory, L1, L2 and memory, through plain
// loads and through bulk copies, alone or with many chains at once, and another CTA's shared memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace memwall::kernels {

/// Where a chain's loads go.
enum class ChasePath {
    l1,   ///< plain loads that may hit L1 (ld.ca)
    l2,   ///< plain loads that bypass L1 (ld.cg)
    tma,  ///< a bulk copy of `box_bytes` into shared memory, awaited, from which the next address is read
};

/// One lane follows the chain; the chains of one launch follow the same cycle from different places.
struct ChaseArguments {
    const std::uint64_t* chain;  ///< entry i (of `stride_bytes`) starts with the index of the next
    std::uint64_t entries;
    std::uint32_t stride_bytes;
    std::uint64_t warm_hops, hops;  ///< first hops that are not timed, then those that are
    std::uint32_t box_bytes = 16;   ///< path tma: a multiple of 16, at most stride_bytes
    int only_sm = -1;               ///< one chain, on this SM only, result 0; -1: on all that have a CTA
    bool resume = false;            ///< go on where the results say that the chains ended; else each from its start
};

/// What a chain wrote.
struct ChaseResult {
    std::uint64_t cycles;  ///< of the timed hops
    std::uint64_t ns;      ///< the same by globaltimer
    std::uint64_t last;    ///< index where the chain ended
    std::uint32_t sm;
    std::uint32_t ran;  ///< 1: this CTA had a chain
};

/// `ctas` CTAs of `chains_per_cta` warps, one chain each; chain c starts at index c * entries / chains. With only_sm,
/// one CTA for each SM is launched and all but that one leave. results: [ctas * chains_per_cta].
void chase(ChasePath path, const ChaseArguments& arguments, int ctas, int chains_per_cta, ChaseResult* results,
           cudaStream_t stream);

/// A chain in shared memory over `entries` (at most 6,144) 4-byte entries, by the first lane of one CTA.
void chase_shared(std::uint32_t entries, std::uint64_t hops, ChaseResult* result, cudaStream_t stream);

/// A chain in the shared memory of rank `peer` of a cluster of `cluster` CTAs, followed by rank 0.
void chase_peer(int cluster, int peer, std::uint64_t hops, ChaseResult* result, cudaStream_t stream);

/// Writes a single random cycle over `entries` into device memory: order[i] becomes entry i's successor.
void write_chain(std::uint64_t* chain, std::uint32_t stride_bytes, const std::uint64_t* successors,
                 std::uint64_t entries, cudaStream_t stream);

}  // namespace memwall::kernels
