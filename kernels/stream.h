// Bandwidth: plain 16-byte loads and stores, and bulk copies, over a footprint again and again; how many bytes are
// under way is what the caller turns.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "host.h"

namespace memwall::kernels {

struct StreamArguments {
    const void* in = nullptr;  ///< null: nothing is read
    void* out = nullptr;       ///< null: nothing is written
    std::int64_t bytes = 0;    ///< of each array, a multiple of 16
    int passes = 1;
    int threads = 512, ctas_per_sm = 1;
    int in_flight = 4;      ///< independent 16-byte accesses of a thread: 1, 2, 4 or 8
    int sms = 0;            ///< SMs 0 .. sms - 1 take part; 0: all
    bool shared = false;    ///< every SM reads all of it; else each its share
    int pattern_bytes = 0;  ///< of every pattern_stride bytes the first pattern_bytes are touched; 0: all
    int pattern_stride = 0;
    std::uint32_t* slots =
        nullptr;  ///< one zeroed word for each SM, kept from launch to launch; needed when sms is set
};
void stream(const StreamArguments& arguments, cudaStream_t stream);

/// Bulk loads into shared memory by one thread of each CTA, `in_flight` boxes at a time; nothing else is done with
/// them.
struct TmaReadArguments {
    const void* in;
    std::int64_t bytes;   ///< a multiple of box_bytes
    int box_bytes;        ///< rank 1: a multiple of 16; rank 2: of 128 (rows of 128 bytes), at most 32,768
    int ctas, in_flight;  ///< in_flight 1 to 16, and together with the box within shared memory
    int rank = 1;         ///< 1: runs of bytes; 2: boxes of a tensor map
    int passes = 1;
};
[[nodiscard]] std::string tma_read_refusal(const TmaReadArguments& arguments);
void tma_read(const TmaReadArguments& arguments, cudaStream_t stream);

/// Copies `bytes` (a multiple of box_bytes, itself one of 16 up to 16,384) through shared memory by bulk loads and
/// stores, four boxes at a time in each of `ctas` CTAs.
void tma_copy(const void* in, void* out, std::int64_t bytes, int box_bytes, int ctas, cudaStream_t stream);

}  // namespace memwall::kernels
