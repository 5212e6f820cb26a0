// The tensor cores of one SM as one resource, and what a wgmma costs.
//
// A warpgroup's wgmma m64 n N (32 bytes of k) takes N/2 cycles of all four tensor cores at the dense rate (4096 FLOP
// per cycle for 16 bit), and reads its operands from shared memory: A (64 rows of 32 bytes, unless it is in registers)
// and B (N rows). The measured time is the larger of the two: max(N/2, (2048 + 32 N)/128) with both in shared memory,
// which fits the published rates at N = 8, 16, 32 within 2 %. Operand reads compete with TMA writes and the threads for
// the same 128 bytes per cycle; here the others go first and the tensor cores wait for what is left.
#pragma once

#include <cstdint>

#include "base/ring_queue.h"
#include "device/device.h"
#include "trace/trace.h"

namespace memwall::chip {

struct MmaCost {
    int instructions;
    double tensor_cycles;  ///< of the tensor cores, all instructions
    double operand_bytes;  ///< read from shared memory
};

/// Cost of one step, which a warpgroup issues as m64 instructions.
MmaCost mma_cost(const trace::MmaShape& shape, const device::TensorParams& tensor);

struct MmaJob {
    std::uint8_t cta, role;
    double tensor_ps, operand_ps;
};

struct TensorCore {
    RingQueue<MmaJob> queue;  ///< the first is in progress when `busy`
    bool busy = false;
    std::int64_t began_ps = 0;
    double smem_mark_ps = 0;  ///< others' shared-memory work when it began
};

}  // namespace memwall::chip
