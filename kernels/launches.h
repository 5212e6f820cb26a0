// Kernels that do next to nothing, to see what launching them costs.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace memwall::kernels {

/// One CTA that ends at once.
void empty_kernel(cudaStream_t stream, bool dependent);
/// Copies `bytes` (a multiple of 16) with 16-byte loads, one for each thread.
void copy_kernel(const void* from, void* to, std::int64_t bytes, cudaStream_t stream, bool dependent);
/// `ctas` CTAs of `threads`, at most `per_sm` on an SM by their shared memory (1 to 4), that note nothing and end.
void empty_ctas(int ctas, int threads, int per_sm, cudaStream_t stream);
/// As many CTAs as SMs in clusters of `size`, each of which meets its cluster's barrier once.
void empty_clusters(int size, cudaStream_t stream);
/// One CTA on each SM; all meet `times` times at a counter in memory (zero before the launch). cycles: of SM 0's part,
/// for all meetings. A CTA that waits too long gives up and writes 0.
void grid_barriers(int times, std::uint32_t* counter, std::uint64_t* cycles, cudaStream_t stream);

}  // namespace memwall::kernels
