// Shorthands for writing the roles of a kernel.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "trace/trace.h"

namespace memwall::workload {

using trace::Affine;
using trace::Step;
using trace::StepKind;

inline Step simple(StepKind kind, int ring = -1) {
    Step step;
    step.kind = kind;
    step.ring = ring;
    return step;
}
inline Step loop(Affine count) {
    Step step = simple(StepKind::loop_begin);
    step.count = count;
    return step;
}
/// At most as many turns as it takes to cover `limit` in steps of `grain`.
inline Step loop(Affine count, Affine limit, std::int64_t grain = 1) {
    Step step = loop(count);
    step.count_limit = limit;
    step.limit_grain = grain;
    return step;
}
inline Step end_loop() {
    return simple(StepKind::loop_end);
}
inline Step acquire(int ring) {
    return simple(StepKind::acquire, ring);
}
inline Step commit(int ring) {
    return simple(StepKind::commit, ring);
}
inline Step wait_full(int ring) {
    return simple(StepKind::wait_full, ring);
}
inline Step release(int ring) {
    return simple(StepKind::release, ring);
}
inline Step wait_mma(int allowed) {
    Step step = simple(StepKind::wait_mma);
    step.count = allowed;
    return step;
}
inline Step mma(trace::MmaShape shape) {
    Step step = simple(StepKind::mma);
    step.mma = shape;
    return step;
}
inline Step vector(trace::VectorShape shape) {
    Step step = simple(StepKind::vector);
    step.vec = shape;
    return step;
}

/// More steps at the end.
inline void append(std::vector<Step>& steps, std::initializer_list<Step> more) {
    for (const Step& step : more) steps.push_back(step);
}

/// A read of `load`'s ring that the reader itself waits for: an address, a length.
inline void look_up(std::vector<Step>& steps, const Step& load) {
    append(steps, {acquire(load.ring), load, commit(load.ring), wait_full(load.ring), release(load.ring)});
}

using Origin = std::array<Affine, trace::kMaxRank>;

/// Sets, or waits for, a flag of the kernel.
inline Step flag(StepKind kind, Affine number) {
    Step step = simple(kind);
    step.origin[0] = number;
    return step;
}

/// load, store or reduce of a box.
inline Step move(StepKind kind, int ring, int tensor, Origin origin, trace::Extents box, trace::LoadPath path) {
    Step step = simple(kind, ring);
    step.tensor = tensor;
    step.origin = origin;
    step.box = box;
    step.path = path;
    return step;
}

/// Variables by name: the work item's coordinates and the loop counters.
inline Affine item(int dim, std::int64_t factor = 1) {
    return Affine::var(dim, factor);
}
inline Affine turn(int depth, std::int64_t factor = 1) {
    return Affine::var(trace::kWorkDims + depth, factor);
}
inline Affine cta(std::int64_t factor = 1) {
    return Affine::var(trace::kVarCta, factor);
}
inline Affine instance(std::int64_t factor = 1) {
    return Affine::var(trace::kVarInstance, factor);
}

/// Cycles of a reduction over a block: five shuffles inside a warp, one trip through shared memory, five more, and two
/// barriers; about 24 cycles a shuffle step with its add (dependent FP32 4, shuffle about 20) and 29 for shared memory
/// each way.
inline constexpr double kReductionCycles = 2 * 5 * 24 + 2 * 29 + 2 * 17;

/// A tensor's bytes as `rows` of `cols` elements.
inline int as_matrix(trace::Trace& trace, int tensor, std::int64_t rows, std::int64_t cols) {
    trace::Tensor view = trace.tensors[static_cast<std::size_t>(tensor)];
    const std::int64_t element = trace::bits_of(view.dtype) / 8;
    view.rank = 2;
    view.shape = {rows, cols};
    view.stride_bytes = {cols * element, element};
    return trace.add_view(view);
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

}  // namespace memwall::workload
