// The map of the chip that its maker does not publish: which SMs share a GPC, which half of the L2 each SM belongs to,
// and in which half each 4 KiB of memory has its home. Found by experiment: clusters lie in one GPC; an atomic is done
// at its line's home, so its latency tells near from far (plain reads do not: an SM's half keeps copies of far lines).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "host.h"

namespace memwall::kernels {

inline constexpr std::uint64_t kHomeBlockBytes = 4096;  // neighbours in a block of this size share a home half

struct ChipMap {
    std::vector<int> gpc_of_sm;   ///< numbered in order of first SM; from clusters that were seen together
    std::vector<int> half_of_sm;  ///< 0: the half of SM 0
    std::uint64_t home_mask = 0;  ///< address bits whose parity is the home half, within 2 MiB pages
    double home_agreement = 0;    ///< share of blocks that agree with it
    double half_gap = 0;          ///< how far apart near and far latencies are (two_groups); below 2: not told apart
    double near_cycles = 0, far_cycles = 0;  ///< of an atomic with a result, from SM 0
};

/// Latency in SM cycles of an atomicAdd with a result, from SM `sm`, to the first word of each of `blocks` blocks of 4
/// KiB: the least of a few tries. Region: device memory, resident in L2 after the first try.
[[nodiscard]] std::vector<double> atomic_latencies(int sm, std::uint32_t* region, int blocks, cudaStream_t stream);

/// Whether each of `blocks` blocks of `region` has its home in SM `sm`'s half, by latency. Throws CudaError when near
/// and far cannot be told apart.
[[nodiscard]] std::vector<bool> near_blocks(int sm, std::uint32_t* region, int blocks, cudaStream_t stream);

/// SM ids of CTAs that ran as clusters of `size`, cluster after cluster; empty when the device refuses that size.
[[nodiscard]] std::vector<int> sms_of_clusters(int size, cudaStream_t stream);

/// The most clusters of `size` that can be resident, one CTA to an SM; 0 when the size is refused.
[[nodiscard]] int resident_clusters(int size);

/// The map of the current device, found once and kept.
[[nodiscard]] const ChipMap& chip_map(cudaStream_t stream);

/// SMs that read: `rank[sm]` counts the readers from 0, -1 takes no part. Each reads its share of the listed blocks of
/// 4 KiB (block i by the reader i % readers) `passes` times, 16 bytes a load. The work must fit the L2 when it is to be
/// served from there. Returns the time from the first reader's start to the last one's end in microseconds.
[[nodiscard]] double read_by(const std::vector<int>& rank, const char* region, const std::vector<int>& blocks,
                             int passes, cudaStream_t stream);

/// Atomics without a result from all SMs to `words` neighbouring words of one line: operations per nanosecond.
[[nodiscard]] double atomic_rate(std::uint32_t* line, int words, cudaStream_t stream);

}  // namespace memwall::kernels
