// Bandwidth: plain 16-byte loads and stores, and bulk copies, over a footprint again and again; how many bytes are
// under way is what the caller turns.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "host.h"

namespace memwall::kernels {

struct StreamArguments {
    const void* in = nullptr;  ///< null: nothing is read
    void* out = nullptr;       ///< null: nothing is written; without `in`, written_word() of stream_layout.h
    std::int64_t bytes = 0;    ///< of each array, a multiple of 16
    int passes = 1;
    int threads = 512, ctas_per_sm = 4;
    int in_flight = 4;       ///< independent 16-byte accesses of a thread: 1, 2, 4, 8; see most_threads_of_sm()
    int sms = 0;             ///< SMs 0 .. sms - 1 take part; 0: all
    bool shared = false;     ///< every CTA reads all of it; else each its share
    int pattern_bytes = 0;   ///< of every pattern_stride bytes the first pattern_bytes, a power of two, are touched
    int pattern_stride = 0;  ///< 0: no pattern, all bytes
    bool scattered = false;  ///< the runs of the pattern come in a random order; reads of a power of two of runs only
    /// One zeroed word for each SM, kept from launch to launch; needed when sms is set.
    std::uint32_t* slots = nullptr;
    /// Reads only: when not null, the sum over the pieces read of the xor of their four words is added to it.
    std::uint32_t* checksum = nullptr;
};
[[nodiscard]] std::string stream_refusal(const StreamArguments& arguments);
void stream(const StreamArguments& arguments, cudaStream_t stream);

/// What loads ask L2 to do with their lines.
enum class L2Policy : std::uint8_t { normal, evict_first, evict_last };

/// Bulk loads into shared memory by one thread of each CTA, `in_flight` boxes at a time; nothing else is done with
/// them.
struct TmaReadArguments {
    const void* in;
    std::int64_t bytes;   ///< a multiple of box_bytes
    int box_bytes;        ///< rank 1: a multiple of 16; rank 2: of 128 (rows of 128 bytes), at most 32,768
    int ctas, in_flight;  ///< in_flight 1 to 16, and together with the box within shared memory
    int rank = 1;         ///< 1: runs of bytes; 2: boxes of a tensor map
    int passes = 1;
    L2Policy policy = L2Policy::normal;  ///< rank 1 only
    std::uint32_t* checksum = nullptr;   ///< as above; costs time
};
[[nodiscard]] std::string tma_read_refusal(const TmaReadArguments& arguments);
void tma_read(const TmaReadArguments& arguments, cudaStream_t stream);

/// Copies `bytes` (a multiple of box_bytes, itself one of 16 up to 16,384) through shared memory by bulk loads and
/// stores, four boxes at a time in each of `ctas` CTAs.
void tma_copy(const void* in, void* out, std::int64_t bytes, int box_bytes, int ctas, cudaStream_t stream);

}  // namespace memwall::kernels
