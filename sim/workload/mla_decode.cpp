// The order of work is that of FlashMLA's dense decode kernel as of April 2025 (csrc/kernels/splitkv_mla, and its
// deep dive): 64 queries to a CTA, key blocks of 64 tokens taken in pairs, and an output of 64 x rank that is half in
// one warpgroup's registers and half in the other's. Each warpgroup makes the scores of one block of a pair, and both
// weights meet both halves of the values ("seesaw"), so that one warpgroup's softmax runs beside the other's products.
// The scheduler's table and the lengths were made before, for all layers.

#include "workload/mla_decode.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "workload/online_softmax.h"
#include "workload/schedule.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = 0, kRowBlock = 1;  // of a work item
// What the table says of a piece: a block without a partner at its end, its first block, whole pairs, its slot.
constexpr int kOdd = trace::kWorkDims - 2, kBegin = trace::kWorkDims - 1;
constexpr int kPairs = trace::kVarSteps, kSlot = trace::kVarPeers;

constexpr std::int64_t kBlock = 64;       // tokens, and queries, of a block
constexpr std::int64_t kRunOverhead = 5;  // blocks that beginning and ending a run costs, by FlashMLA's scheduler
constexpr std::int64_t kBoxColumns = 64;  // of a bulk load: 128 bytes, the swizzle's span
constexpr std::int64_t kTableBytes = 32;  // of an entry of the scheduler's table; also a sector
constexpr int kRegisters = 255;           // of a thread: 256 threads share the register file
constexpr double kRescaleOps = 1;         // a multiplication for each output

// Rings: queries; the keys of the even and the odd block of a pair, in two parts each (the left half of the values,
// and their right half with the positions); what the warpgroups tell each other; what they look up.
enum RingIndex { kQ, kEvenLeft, kEvenRight, kOddLeft, kOddRight, kToZero, kToOne, kTableZero, kTableOne };

struct Tensors {
    int q, kv, o, partial, lse, table, pages;
};

struct Plan {
    MlaShape s;
    Tensors t;
    std::int64_t half;   ///< of the values' columns: what a warpgroup holds of the output
    std::int64_t right;  ///< columns of the right part of a key block
    std::int64_t element;
    Step qk_left, qk_right, qk_rope, pv_own, pv_other;
    Step maximum, exponential;

    Plan(const MlaShape& shape, const Tensors& tensors)
        : s(shape),
          t(tensors),
          half(shape.rank / 2),
          right(shape.rank / 2 + shape.rope_dim),
          element(trace::bits_of(shape.dtype) / 8) {
        const int m = kBlock, keys = kBlock, columns = static_cast<int>(half), rope = static_cast<int>(shape.rope_dim);
        qk_left = mma({m, keys, columns, s.dtype, false});
        qk_right = mma({m, keys, columns, s.dtype, false});
        // The queries' positions stay in registers, to make room for weights in shared memory.
        qk_rope = mma({m, keys, rope, s.dtype, true});
        pv_own = mma({m, columns, keys, s.dtype, true});
        pv_other = mma({m, columns, keys, s.dtype, false});
        maximum = vector({scores() * kMaximumOps, 0, 0, kReduceLatency});
        exponential = vector({scores() * kExponentialOps, scores(), 0, 0});
    }
    [[nodiscard]] double scores() const { return static_cast<double>(kBlock * kBlock); }
    [[nodiscard]] double outputs() const { return static_cast<double>(kBlock * half); }
    [[nodiscard]] double weight_bytes() const { return scores() * static_cast<double>(element); }
};

/// Tells the other warpgroup, or waits for it.
void tell(std::vector<Step>& steps, int ring) {
    append(steps, {acquire(ring), commit(ring)});
}
void hear(std::vector<Step>& steps, int ring) {
    append(steps, {wait_full(ring), release(ring)});
}

/// Keys of the block `block`, columns [from, from + count), by a bulk load for every 64.
void fetch(std::vector<Step>& steps, const Plan& p, int ring, const Affine& block, std::int64_t from,
           std::int64_t count, int depth) {
    append(steps, {acquire(ring), loop(count / kBoxColumns),
                   move(StepKind::load, ring, p.t.kv, {item(kBatch), block * kBlock, turn(depth, kBoxColumns) + from},
                        {1, kBlock, kBoxColumns}, LoadPath::tma),
                   end_loop(), commit(ring)});
}

/// What a warpgroup's thread must know before a piece's first load: an entry of the table (one for each CTA here, whose
/// numbers are the loop's variables already; FlashMLA has one for the CTAs that share keys), and a page.
void find(std::vector<Step>& steps, const Plan& p, int ring) {
    look_up(steps, move(StepKind::load, ring, p.t.table, {trace::Affine::var(trace::kVarCta), 0}, {1, kTableBytes / 4},
                        LoadPath::plain));
    look_up(steps, move(StepKind::load, ring, p.t.pages, {item(kBatch), item(kBegin)}, {1, 1}, LoadPath::plain));
}

/// Both warpgroups' last steps of a piece: sums of rows, the output through shared memory, which the first stores.
void finish(std::vector<Step>& steps, const Plan& p, bool stores) {
    const double bytes = p.outputs() * 4;  // fp32 where the piece is a part of a sequence; the other case is narrower
    append(steps, {release(kQ), vector({p.outputs() * 2, static_cast<double>(kBlock), bytes, kReduceLatency}),
                   simple(StepKind::sync_cta)});
    if (stores) {
        const Affine row = item(kRowBlock, kBlock), slot = Affine::var(kSlot);
        append(steps,
               {loop(Affine(1) + Affine::var(kSlot, -1)),
                move(StepKind::store, -1, p.t.o, {item(kBatch), row, 0}, {1, kBlock, p.s.rank}, LoadPath::tma),
                end_loop(), loop(1, slot),
                move(StepKind::store, -1, p.t.partial, {slot + -1, row, 0}, {1, kBlock, p.s.rank}, LoadPath::tma),
                move(StepKind::store, -1, p.t.lse, {slot + -1, row}, {1, kBlock}, LoadPath::plain), end_loop(),
                simple(StepKind::wait_reads)});
    }
    steps.push_back(simple(StepKind::sync_cta));
}

/// What follows a pair: which blocks of the next one there are.
struct Next {
    bool even, odd;
};

/// The pairs of a piece, by what follows: another pair, a block without a partner, nothing.
template <class Pair>
void every_pair(std::vector<Step>& steps, const Pair& pair) {
    const Affine first = item(kBegin), last = first + Affine::var(kPairs, 2) + -2;
    steps.push_back(loop(Affine::var(kPairs) + -1));
    pair(steps, Next{true, true}, first + turn(0, 2));
    append(steps, {end_loop(), loop(item(kOdd), Affine::var(kPairs))});
    pair(steps, Next{true, false}, last);
    append(steps, {end_loop(), loop(Affine(1) + item(kOdd, -1))});
    pair(steps, Next{false, false}, last);
    steps.push_back(end_loop());
}

/// The warpgroup that makes the scores of even blocks and holds the left half of the output.
trace::Role warpgroup_zero(const Plan& p) {
    const auto left = [&](std::vector<Step>& steps, int ring, const Affine& block, int depth) {
        fetch(steps, p, ring, block, 0, p.half, depth);
    };
    const auto softmax = [&](std::vector<Step>& steps) {
        append(steps,
               {p.maximum, p.exponential, vector({p.scores() * kConvertOps + p.outputs() * kRescaleOps, 0, 0, 0})});
        tell(steps, kToOne);  // the factor by which this block rescales
        append(steps, {p.pv_own, wait_mma(0)});
        hear(steps, kToZero);  // the factor of the odd block
    };
    // Its weights, rescaled by the odd block's maximum, for the other warpgroup.
    const Step pass_weights = vector({p.scores() * (1 + kConvertOps), 0, p.weight_bytes(), kFenceLatency});
    const auto pair = [&](std::vector<Step>& steps, const Next& next, const Affine& block) {
        softmax(steps);
        if (next.even) left(steps, kEvenLeft, block + 2, 1);
        steps.push_back(pass_weights);
        tell(steps, kToOne);
        hear(steps, kToZero);  // the other has issued its products
        append(steps, {vector({p.outputs() * kRescaleOps, 0, 0, 0}), p.pv_other});
        if (next.even) append(steps, {wait_full(kEvenLeft), release(kEvenLeft), p.qk_left});
        steps.push_back(wait_mma(next.even ? 1 : 0));
        if (next.odd) left(steps, kOddLeft, block + 3, 1);
        if (next.even) append(steps, {wait_full(kEvenRight), p.qk_right, p.qk_rope, wait_mma(0), release(kEvenRight)});
    };
    std::vector<Step> steps = {simple(StepKind::wait_dependency)};
    find(steps, p, kTableZero);
    append(steps, {acquire(kQ),
                   move(StepKind::load, kQ, p.t.q, {item(kBatch), item(kRowBlock, kBlock), 0},
                        {1, kBlock, p.s.key_dim()}, LoadPath::tma),
                   commit(kQ)});
    const Affine first = item(kBegin);
    left(steps, kEvenLeft, first, 0);
    steps.push_back(loop(1, Affine::var(kPairs)));
    left(steps, kOddLeft, first + 1, 1);
    append(steps, {end_loop(), wait_full(kQ), wait_full(kEvenLeft), release(kEvenLeft), p.qk_left,
                   wait_full(kEvenRight), p.qk_right, p.qk_rope, wait_mma(0), release(kEvenRight)});
    every_pair(steps, pair);
    steps.push_back(loop(item(kOdd)));
    softmax(steps);
    steps.push_back(pass_weights);
    tell(steps, kToOne);
    append(steps, {end_loop(), simple(StepKind::trigger_dependents)});
    finish(steps, p, true);
    return {"warpgroup0", 1, 4, std::move(steps), 0};
}

/// The warpgroup of odd blocks and the right half.
trace::Role warpgroup_one(const Plan& p) {
    const auto right = [&](std::vector<Step>& steps, int ring, const Affine& block, int depth) {
        fetch(steps, p, ring, block, p.half, p.right, depth);
    };
    const auto scores = [&](std::vector<Step>& steps) {
        append(steps, {wait_full(kOddRight), release(kOddRight), p.qk_right, p.qk_rope, wait_full(kOddLeft), p.qk_left,
                       wait_mma(0), release(kOddLeft)});
    };
    const Step rescale = vector({p.scores() * kConvertOps + p.outputs() * kRescaleOps, 0, 0, 0});
    const auto pair = [&](std::vector<Step>& steps, const Next& next, const Affine& block) {
        hear(steps, kToOne);  // the even block's factor
        append(steps, {p.maximum, p.exponential, rescale});
        tell(steps, kToZero);
        append(steps, {vector({0, 0, p.weight_bytes(), 0}), p.pv_own, vector({0, 0, 0, kFenceLatency})});
        hear(steps, kToOne);  // the even block's weights
        steps.push_back(p.pv_other);
        tell(steps, kToZero);
        if (next.odd) {
            steps.push_back(wait_mma(1));
            right(steps, kOddRight, block + 3, 1);
        }
        steps.push_back(wait_mma(0));
        if (next.even) right(steps, kEvenRight, block + 2, 1);
        if (next.odd) scores(steps);
    };
    std::vector<Step> steps = {simple(StepKind::wait_dependency)};
    find(steps, p, kTableOne);
    const Affine first = item(kBegin);
    right(steps, kEvenRight, first, 0);
    steps.push_back(loop(1, Affine::var(kPairs)));
    right(steps, kOddRight, first + 1, 1);
    append(steps, {end_loop(), wait_full(kQ), loop(1, Affine::var(kPairs))});
    scores(steps);
    steps.push_back(end_loop());
    every_pair(steps, pair);
    // A block without a partner: its weights meet the right half as well.
    steps.push_back(loop(item(kOdd)));
    hear(steps, kToOne);
    steps.push_back(vector({p.outputs() * kRescaleOps, 0, 0, 0}));
    tell(steps, kToZero);
    hear(steps, kToOne);
    append(steps, {p.pv_other, wait_mma(0), end_loop()});
    finish(steps, p, false);
    return {"warpgroup1", 1, 4, std::move(steps), 1};
}

Tensors add_tensors(trace::Trace& trace, const MlaShape& s, std::int64_t ctas, std::int64_t slots,
                    const std::string& name) {
    constexpr auto kWord = trace::Dtype::fp32;  // of tables: integers as wide
    Tensors t{};
    t.q = trace.add_tensor(name + ".q", s.dtype, {s.batch, s.rows(), s.key_dim()});
    t.kv = trace.add_tensor(name + ".kv", s.dtype, {s.batch, s.kv, s.key_dim()});
    trace::Tensor& kv = trace.tensors[static_cast<std::size_t>(t.kv)];
    kv.policy = trace::CachePolicy::evict_first;
    if (s.page > 0) {
        kv.paged_dim = 1;
        kv.page_extent = s.page;
    }
    t.o = trace.add_tensor(name + ".o", s.dtype, {s.batch, s.rows(), s.rank});
    t.partial = trace.add_tensor(name + ".partial", kWord, {std::max<std::int64_t>(1, slots), s.rows(), s.rank});
    t.lse = trace.add_tensor(name + ".lse", kWord, {std::max<std::int64_t>(1, slots), s.rows()});
    t.table = trace.add_tensor(name + ".schedule", kWord, {ctas, kTableBytes / 4});
    t.pages = trace.add_tensor(name + ".page_table", kWord, {s.batch, s.blocks()});
    return t;
}

}  // namespace

std::int64_t MlaShape::row_blocks() const {
    return ceil_div(rows(), kBlock);
}

std::int64_t MlaShape::blocks() const {
    return ceil_div(kv, kBlock);
}

std::vector<std::vector<MlaRun>> mla_schedule(std::int64_t batch, std::int64_t blocks, std::int64_t parts) {
    const std::int64_t share =
        std::max(ceil_div(batch * (blocks + kRunOverhead), parts) + kRunOverhead, 2 * kRunOverhead);
    std::vector<std::vector<MlaRun>> schedule(static_cast<std::size_t>(parts));
    std::int64_t sequence = 0, done = 0, slots = 0;
    for (auto& runs : schedule) {
        std::int64_t left = share;
        while (sequence < batch && left > kRunOverhead) {
            const std::int64_t all = blocks - done;
            const bool to_end = left >= all + kRunOverhead;
            const std::int64_t taken = to_end ? all : left - kRunOverhead;
            const bool whole = to_end && done == 0;
            runs.push_back({sequence, done, taken, whole ? 0 : ++slots});
            left -= taken + kRunOverhead;
            done += taken;
            if (!to_end) break;
            ++sequence;
            done = 0;
        }
    }
    return schedule;
}

void append_mla_decode(trace::Trace& trace, const MlaShape& s, const std::string& name, const device::Device& device) {
    const std::int64_t row_blocks = s.row_blocks(), parts = std::max<std::int64_t>(1, device.sms() / row_blocks);
    const auto schedule = mla_schedule(s.batch, s.blocks(), parts);
    std::int64_t slots = 0;
    for (const auto& runs : schedule) {
        for (const MlaRun& run : runs) slots = std::max(slots, run.slot);
    }
    const Plan p(s, add_tensors(trace, s, parts * row_blocks, slots, name));
    const std::int64_t q_bytes = kBlock * s.key_dim() * p.element;
    check_smem("mla_decode", q_bytes, fmt::format("64 tokens of {} {}", s.key_dim(), trace::name_of(s.dtype)), 2,
               q_bytes + kBlock * kBlock * p.element, device);
    trace::Kernel k;
    k.name = name;
    k.op = "mla_decode";
    k.params = {
        {"batch", std::to_string(s.batch)}, {"heads", std::to_string(s.heads)},       {"kv", std::to_string(s.kv)},
        {"rank", std::to_string(s.rank)},   {"rope_dim", std::to_string(s.rope_dim)}, {"q", std::to_string(s.q)},
        {"dtype", trace::name_of(s.dtype)}};
    k.work.names = {"batch", "rows", "", "block"};
    k.work.extent = {s.batch, row_blocks, 1, 1};
    k.work.persistent = true;
    // The CTAs of a group, one for each 64 queries, are neighbours in the grid.
    k.ctas = parts * row_blocks;
    for (const auto& runs : schedule) {
        for (std::int64_t rows = 0; rows < row_blocks; ++rows) {
            auto& mine = k.work.dealt.emplace_back();
            for (const MlaRun& run : runs)
                mine.push_back({run.batch * row_blocks + rows, run.begin, run.blocks / 2, run.slot, run.blocks % 2});
        }
    }
    k.registers_per_thread = kRegisters;
    const std::int64_t left_bytes = kBlock * p.half * p.element, right_bytes = kBlock * p.right * p.element;
    k.smem_bytes = q_bytes + 2 * (left_bytes + right_bytes) + kBlock * kBlock * p.element;
    // A part of keys that its own warpgroup alone reads, or last, is free again by the order of its steps.
    k.rings = {{"q", 1, q_bytes, 2, false},
               {"even_left", 1, left_bytes, 1, false},
               {"even_right", 1, right_bytes, 1, false},
               {"odd_left", 1, left_bytes, 1, false},
               {"odd_right", 1, right_bytes, 1, false},
               {"to_zero", 2, 0, 1, false},
               {"to_one", 2, 0, 1, false},
               {"table_zero", 1, kTableBytes, 1, true},
               {"table_one", 1, kTableBytes, 1, true}};
    k.roles = {warpgroup_zero(p), warpgroup_one(p)};
    const auto rows = static_cast<double>(s.batch * s.rows());
    k.flops = 2 * rows * static_cast<double>(s.kv * (s.key_dim() + s.rank));
    k.math_dtype = s.dtype;
    k.tensor_cores = true;
    k.compulsory_read_bytes =
        static_cast<std::uint64_t>((s.batch * s.kv + s.batch * s.rows()) * s.key_dim() * p.element);
    k.compulsory_write_bytes = static_cast<std::uint64_t>(s.batch * s.rows() * s.rank * p.element);
    k.tile = {static_cast<int>(kBlock), static_cast<int>(kBlock), static_cast<int>(s.key_dim())};
    k.stages = 2;
    k.split = static_cast<int>(std::max<std::int64_t>(1, ceil_div(slots, s.batch)));
    trace.kernels.push_back(std::move(k));
    append_mla_combine(trace, s, schedule, {p.t.o, p.t.partial, p.t.lse, p.t.table}, name);
}

}  // namespace memwall::workload
