#include "chip/sm/tensor_core.h"

#include <algorithm>
#include <cmath>

namespace memwall::chip {

namespace {

constexpr int kInstructionRows = 64;
constexpr int kInstructionKBytes = 32;

double rate(trace::Dtype dtype, const device::TensorParams& tensor) {
    switch (dtype) {
        case trace::Dtype::fp8:
        case trace::Dtype::int8:
        case trace::Dtype::int4:
            return tensor.flops_per_cycle_fp8;
        case trace::Dtype::tf32:
        case trace::Dtype::fp32:
            return tensor.flops_per_cycle_tf32;
        default:
            return tensor.flops_per_cycle_16bit;
    }
}

}  // namespace

MmaCost mma_cost(const trace::MmaShape& shape, const device::TensorParams& tensor) {
    const int bits = std::max(8, trace::bits_of(shape.dtype));
    const int k_step = kInstructionKBytes * 8 / bits;
    const int rows = (shape.m + kInstructionRows - 1) / kInstructionRows;
    const int steps = (shape.k + k_step - 1) / k_step;
    const int n = std::max(8, (shape.n + 7) / 8 * 8);
    MmaCost cost{};
    cost.instructions = rows * steps;
    const double flops = 2.0 * kInstructionRows * n * k_step;
    cost.tensor_cycles = cost.instructions * flops / rate(shape.dtype, tensor);
    const double a_bytes = shape.a_from_registers ? 0 : kInstructionRows * kInstructionKBytes;
    cost.operand_bytes = cost.instructions * (a_bytes + static_cast<double>(n) * kInstructionKBytes);
    return cost;
}

namespace {

bool same_warpgroup(const MmaJob& a, const MmaJob& b) {
    return a.cta == b.cta && a.role == b.role;
}

}  // namespace

std::size_t TensorCore::next_job() const {
    // Of each warpgroup's first job, the one that has waited longest for a turn.
    std::size_t next = 0;
    for (std::size_t i = 1; i < jobs_.size(); ++i) {
        const auto own = [&](const MmaJob& job) { return same_warpgroup(job, jobs_[i]); };
        if (std::any_of(jobs_.begin(), jobs_.begin() + static_cast<std::ptrdiff_t>(i), own)) continue;
        if (jobs_[i].last_turn < jobs_[next].last_turn) next = i;
    }
    return next;
}

bool TensorCore::one_warpgroup() const {
    return std::all_of(jobs_.begin(), jobs_.end(),
                       [this](const MmaJob& job) { return same_warpgroup(job, jobs_.front()); });
}

double TensorCore::ends_after(const MmaJob& job, int instructions, double others_ps) const {
    const double part = static_cast<double>(job.done + instructions) / job.instructions;
    return std::max(job.tensor_ps * part, job.operand_ps * part + job.others_ps + others_ps) - job.elapsed_ps;
}

std::int64_t TensorCore::begin_turn(std::int64_t now_ps, double smem_others_ps) {
    at_ = next_job();
    MmaJob& job = jobs_[at_];
    if (job.first_ps < 0) job.first_ps = now_ps;
    instructions_ = one_warpgroup() ? job.instructions - job.done : 1;
    began_ps_ = now_ps;
    smem_mark_ps_ = smem_others_ps;
    ++turn_;
    return turn_ends(smem_others_ps);
}

std::int64_t TensorCore::turn_ends(double smem_others_ps) const {
    const double takes = ends_after(jobs_[at_], instructions_, smem_others_ps - smem_mark_ps_);
    return began_ps_ + static_cast<std::int64_t>(std::max(0.0, takes));
}

bool TensorCore::cut_turn(std::int64_t now_ps, double smem_others_ps) {
    if (instructions_ <= 1 || one_warpgroup()) return false;
    const double whole = ends_after(jobs_[at_], instructions_, smem_others_ps - smem_mark_ps_);
    const double begun = std::floor(static_cast<double>(now_ps - began_ps_) / whole * instructions_) + 1;
    if (!(begun < instructions_)) return false;
    instructions_ = static_cast<int>(begun);
    ++turn_;
    return true;
}

std::optional<MmaJob> TensorCore::end_turn(std::int64_t now_ps, double smem_others_ps) {
    MmaJob& job = jobs_[at_];
    job.done += instructions_;
    job.elapsed_ps += static_cast<double>(now_ps - began_ps_);
    job.others_ps += smem_others_ps - smem_mark_ps_;
    instructions_ = 0;
    ++turns_;
    for (MmaJob& other : jobs_) {
        if (same_warpgroup(other, job)) other.last_turn = turns_;
    }
    if (job.done < job.instructions) return std::nullopt;
    const MmaJob finished = job;
    jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(at_));
    return finished;
}

}  // namespace memwall::chip
