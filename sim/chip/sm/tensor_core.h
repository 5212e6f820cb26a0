// The tensor cores of one SM as one resource, and what a wgmma costs.
//
// A warpgroup's wgmma m64 n N (32 bytes of k) takes N/2 cycles of all four tensor cores at the dense rate (4096 FLOP
// per cycle for 16 bit), and reads its operands from shared memory: A (64 rows of 32 bytes, unless it is in registers)
// and B (N rows). The measured time is the larger of the two: max(N/2, (2048 + 32 N)/128) with both in shared memory,
// which fits the published rates at N = 8, 16, 32 within 2 %. Operand reads compete with TMA writes and the threads for
// the same 128 bytes per cycle; here the others go first and the tensor cores wait for what is left.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

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

/// One step of a warpgroup. Its operands are fetched ahead: over the whole step it takes the longer of the arithmetic
/// and of shared memory's time for its operands and for whatever others use in its turns.
struct MmaJob {
    std::uint8_t cta, role;
    double tensor_ps, operand_ps;
    int instructions;
    int done = 0;                 ///< of them
    double others_ps = 0;         ///< others' shared-memory work in its turns so far
    double elapsed_ps = 0;        ///< its turns so far
    std::int64_t first_ps = -1;   ///< when its first turn began
    std::uint64_t last_turn = 0;  ///< of this or an earlier job of the same warpgroup
};

/// The jobs of all warpgroups. Those of one are done in order; warpgroups take turns of one instruction, as the
/// schedulers that issue them give their warps turns.
class TensorCore {
public:
    [[nodiscard]] bool busy() const { return instructions_ > 0; }
    [[nodiscard]] bool empty() const { return jobs_.empty(); }
    void add(const MmaJob& job) { jobs_.push_back(job); }

    /// Begins the next turn; returns when it ends, if others leave shared memory alone. Not when empty or busy.
    std::int64_t begin_turn(std::int64_t now_ps, double smem_others_ps);
    /// When the turn in progress ends by now.
    [[nodiscard]] std::int64_t turn_ends(double smem_others_ps) const;
    /// Another warpgroup has come: a turn of several instructions ends with the one in progress. Returns whether that
    /// changed its end.
    bool cut_turn(std::int64_t now_ps, double smem_others_ps);
    /// Ends the turn; returns the job if that was its last one.
    std::optional<MmaJob> end_turn(std::int64_t now_ps, double smem_others_ps);

    /// Whether all jobs are of one warpgroup.
    [[nodiscard]] bool one_warpgroup() const;
    /// Changes with every turn and with what cuts one.
    [[nodiscard]] std::uint32_t turn() const { return turn_; }

private:
    [[nodiscard]] std::size_t next_job() const;
    [[nodiscard]] double ends_after(const MmaJob& job, int instructions, double others_ps) const;

    std::vector<MmaJob> jobs_;  // in order of arrival; there are few
    std::size_t at_ = 0;        // whose turn it is
    int instructions_ = 0;      // of the turn in progress
    std::uint32_t turn_ = 0;
    std::uint64_t turns_ = 0;
    std::int64_t began_ps_ = 0;
    double smem_mark_ps_ = 0;  // others' shared-memory work when it began
};

}  // namespace memwall::chip
