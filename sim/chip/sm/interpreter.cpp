// The SM's interpreter: what each step of a role does, and what a role waits for.

#include <fmt/core.h>

#include <algorithm>

#include "chip/launch/launch_unit.h"
#include "chip/sm/sm.h"

namespace memwall::chip {

using trace::StepKind;

namespace {

/// Element i of a fixed random cyclic order of 0..n-1: a small Feistel network on the next power of four, walked until
/// it falls into range. Every element is visited once per round, in the same order each round.
std::uint64_t shuffled(std::uint64_t i, std::uint64_t n) {
    unsigned half = 1;
    while ((1ULL << (2 * half)) < n) ++half;
    const std::uint64_t mask = (1ULL << half) - 1;
    std::uint64_t x = i;
    do {
        std::uint64_t left = x >> half, right = x & mask;
        for (std::uint64_t round = 1; round <= 4; ++round) {
            const std::uint64_t f = ((right + round) * 0x9E3779B97F4A7C15ULL) >> 33;
            const std::uint64_t next = left ^ (f & mask);
            left = right;
            right = next;
        }
        x = left << half | right;
    } while (x >= n);
    return x;
}

}  // namespace

Sm::Next Sm::next_item(Cta& cta, int slot, RoleState& role, std::int64_t now_ps) {
    const trace::Kernel& kernel = *program(cta).kernel;
    if (kernel.work.dynamic) return next_taken(cta, slot, role, now_ps);
    if (kernel.work.in_pieces()) return next_piece(cta, role);
    const std::int64_t clusters = kernel.ctas / kernel.work.cluster;
    const std::int64_t items = kernel.work.cluster_items();
    const bool first = role.item < 0;
    if (!first && !kernel.work.persistent) return Next::none;
    if (kernel.work.blocked) {
        const std::int64_t share = (items + clusters - 1) / clusters;
        const std::int64_t begin = cta.index / kernel.work.cluster * share;
        role.item = first ? begin : role.item + 1;
        if (role.item >= std::min(items, begin + share)) return Next::none;
    } else {
        role.item += clusters;
        if (role.item >= items) return Next::none;
    }
    begin_item(cta, role);
    return Next::item;
}

Sm::Next Sm::next_taken(Cta& cta, int slot, RoleState& role, std::int64_t now_ps) {
    if (role.begun == cta.taken.size()) {
        // The first role that needs an item takes one for all: the producer, which has issued its last load while the
        // others still work. Any earlier, and a CTA with a long item would hold a second one that others could do.
        if (!cta.taking) {
            cta.taking = true;
            send(*launch_, now_ps + atomic_ps_, LaunchUnit::take,
                 static_cast<std::uint32_t>(index_) << 8 | static_cast<std::uint32_t>(slot), cta.kernel);
        }
        block(role, Wait::work, now_ps);
        return Next::unknown;
    }
    const std::int64_t item = cta.taken[role.begun++];
    if (item == Cta::kNoItem) return Next::none;
    role.item = item;
    begin_item(cta, role);
    return Next::item;
}

Sm::Next Sm::next_piece(const Cta& cta, RoleState& role) {
    const trace::Kernel& kernel = *program(cta).kernel;
    const std::int64_t cluster = kernel.work.cluster;
    role.item = std::max<std::int64_t>(role.item + 1, 0);
    const auto piece = kernel.work.piece(cta.index / cluster, kernel.ctas / cluster, role.item);
    if (!piece) return Next::none;
    role.pc = 0;
    role.depth = 0;
    set_coordinates(cta, role, piece->tile);
    piece->put_into(role.vars);
    return Next::item;
}

void Sm::take_work(int slot, std::uint32_t item, std::int64_t now_ps) {
    Cta& cta = slots_[static_cast<std::size_t>(slot)];
    cta.taking = false;
    cta.taken.push_back(item == kNone ? Cta::kNoItem : static_cast<std::int64_t>(item));
    for (std::size_t r = 0; r < cta.roles.size(); ++r) {
        if (cta.roles[r].wait == Wait::work) run(slot, static_cast<int>(r), now_ps);
    }
}

void Sm::begin_item(const Cta& cta, RoleState& role) {
    role.pc = 0;
    role.depth = 0;
    set_coordinates(cta, role, role.item);
}

void Sm::set_coordinates(const Cta& cta, RoleState& role, std::int64_t tile) {
    const auto at = program(cta).kernel->work.coordinates(tile, cta.rank);
    role.vars.fill(0);
    std::copy(at.begin(), at.end(), role.vars.begin());
    role.vars[trace::kVarCta] = cta.index;
    role.vars[trace::kVarClusterRank] = cta.rank;
    role.vars[trace::kVarInstance] = role.instance;
}

Sm::Outcome Sm::block(RoleState& role, Wait why, std::int64_t now_ps) {
    role.wait = why;
    role.wait_since_ps = now_ps;
    return Outcome::blocked;
}

void Sm::waited_for_stores(const Cta& cta, const RoleState& role, std::int64_t since_ps, std::int64_t until_ps) {
    if (until_ps <= since_ps) return;
    counters_.wait_stores_ps += static_cast<double>(until_ps - since_ps);
    if (watched()) note(TimelineSpan::Track::wait, role.instance, cta, role, since_ps, until_ps);
}

void Sm::wake(Cta& cta, int slot, int role, std::int64_t at_ps) {
    RoleState& state = cta.roles[static_cast<std::size_t>(role)];
    if (state.wait == Wait::stores || state.wait == Wait::reads)
        waited_for_stores(cta, state, state.wait_since_ps, at_ps);
    state.wait = Wait::start;
    post(std::max(at_ps, state.wait_since_ps), resume,
         static_cast<std::uint32_t>(slot) << 8 | static_cast<std::uint32_t>(role));
}

void Sm::run(int slot, int role_index, std::int64_t now_ps) {
    Cta& cta = slots_[static_cast<std::size_t>(slot)];
    RoleState& role = cta.roles[static_cast<std::size_t>(role_index)];
    const auto& steps = program(cta).roles[role.role].role->steps;
    role.wait = Wait::none;
    std::int64_t now = now_ps;
    for (;;) {
        if (role.pc >= steps.size()) {
            const Next next = next_item(cta, slot, role, now);
            if (next == Next::item) continue;
            if (next == Next::unknown) return;
            role.wait = Wait::done;
            finish_role(cta, slot, now);
            return;
        }
        const Outcome outcome = step(cta, slot, role_index, role, steps[role.pc], now);
        if (outcome == Outcome::blocked) return;
        if (outcome == Outcome::next) ++role.pc;
        // A role that has worked into the future goes on when that time has come, unless nothing happens until then.
        if (now > now_ps && !quiet_until(now)) {
            role.wait = Wait::start;
            post(now, resume, static_cast<std::uint32_t>(slot) << 8 | static_cast<std::uint32_t>(role_index));
            return;
        }
    }
}

Sm::Outcome Sm::step(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now) {
    switch (step.kind) {
        case StepKind::loop_begin:
            return begin_loop(program(cta), role, step);
        case StepKind::loop_end:
            return end_loop(program(cta), role);
        case StepKind::acquire:
            return acquire(cta, role, cta.rings[static_cast<std::size_t>(step.ring)], step.ring, now);
        case StepKind::load:
            load(cta, slot, role_index, role, step, now);
            return Outcome::next;
        case StepKind::commit:
            commit(cta, slot, role, step.ring, now);
            return Outcome::next;
        case StepKind::wait_full:
            return wait_full(cta, role, step.ring, now);
        case StepKind::release:
            release(cta, slot, role, step.ring, now);
            return Outcome::next;
        case StepKind::mma:
            mma(cta, slot, role_index, role, step, now);
            return Outcome::next;
        case StepKind::wait_mma:
            role.allowance = static_cast<std::int32_t>(step.count.at(role.vars));
            return role.mma_in_flight <= role.allowance ? Outcome::next : block(role, Wait::mma, now);
        case StepKind::vector:
            return vector_work(slot, role_index, cta, role, step, now);
        case StepKind::store:
        case StepKind::reduce:
            load(cta, slot, role_index, role, step, now);
            return Outcome::next;
        case StepKind::wait_stores:
            return role.stores_in_flight == 0 ? Outcome::next : block(role, Wait::stores, now);
        case StepKind::wait_reads:
            if (role.stores_unread > 0) return block(role, Wait::reads, now);
            waited_for_stores(cta, role, now, role.stores_read_ps);
            now = std::max(now, role.stores_read_ps);
            return Outcome::next;
        case StepKind::sync_cta:
            return sync_cta(cta, slot, role, now);
        case StepKind::sync_cluster:
            return sync_cluster(cta, role, now);
        case StepKind::wait_dependency:
            return cta.kernel <= dependency_ ? Outcome::next : block(role, Wait::dependency, now);
        case StepKind::trigger_dependents:
            trigger_dependents(cta, now);
            return Outcome::next;
        case StepKind::chase:
            return chase(cta, slot, role_index, role, step, now);
        case StepKind::signal:
            send(*launch_, now + atomic_ps_, LaunchUnit::signal, flag_of(step, role), cta.kernel);
            return Outcome::next;
        case StepKind::wait_signal:
            ++role.pc;  // when woken, it is past the step
            send(*launch_, now + atomic_ps_, LaunchUnit::poll,
                 static_cast<std::uint32_t>(index_) << 16 | static_cast<std::uint32_t>(slot) << 8 |
                     static_cast<std::uint32_t>(role_index),
                 flag_of(step, role));
            return block(role, Wait::signal, now);
    }
    return Outcome::next;
}

std::uint32_t Sm::flag_of(const trace::Step& step, const RoleState& role) {
    return static_cast<std::uint32_t>(step.origin[0].at(role.vars));
}

Sm::Outcome Sm::begin_loop(const Program& p, RoleState& role, const trace::Step& step) {
    const std::int64_t trips = step.turns(role.vars);
    if (trips <= 0) {
        role.pc = static_cast<std::uint16_t>(p.roles[role.role].match[role.pc] + 1);
        return Outcome::stay;
    }
    role.trips[static_cast<std::size_t>(role.depth)] = trips;
    role.vars[static_cast<std::size_t>(trace::kWorkDims + role.depth)] = 0;
    ++role.depth;
    return Outcome::next;
}

Sm::Outcome Sm::end_loop(const Program& p, RoleState& role) {
    const auto depth = static_cast<std::size_t>(role.depth - 1);
    if (++role.vars[static_cast<std::size_t>(trace::kWorkDims) + depth] < role.trips[depth]) {
        role.pc = static_cast<std::uint16_t>(p.roles[role.role].match[role.pc] + 1);
        return Outcome::stay;
    }
    role.vars[static_cast<std::size_t>(trace::kWorkDims) + depth] = 0;
    --role.depth;
    return Outcome::next;
}

Sm::Outcome Sm::acquire(const Cta& cta, RoleState& role, RingState& ring, int ring_index, std::int64_t& now) {
    Cursor& cursor = role.cursor[static_cast<std::size_t>(ring_index)];
    const std::int64_t generation = cursor.acquired;
    Stage& stage = ring.stage[static_cast<std::size_t>(generation % ring.stages)];
    if (generation >= ring.stages && stage.releases < ring.consumers) {
        role.wait_ring = static_cast<std::uint8_t>(ring_index);
        return block(role, Wait::empty, now);
    }
    stage.releases -= generation >= ring.stages ? ring.consumers : 0;
    stage.generation = generation;
    stage.expected = 0;
    stage.committed = false;
    ++cursor.acquired;
    if (!program(cta).kernel->rings[static_cast<std::size_t>(ring_index)].registers)
        now += cycles(device_.sm.barrier_wait_cycles);
    return Outcome::next;
}

void Sm::load(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now) {
    const trace::Tensor& tensor = bench_.trace->tensors[static_cast<std::size_t>(step.tensor)];
    const bool is_load = step.kind == StepKind::load;
    const bool plain = step.path != trace::LoadPath::tma;
    std::array<std::int64_t, trace::kMaxRank> origin{};
    for (int d = 0; d < tensor.rank; ++d)
        origin[static_cast<std::size_t>(d)] = step.origin[static_cast<std::size_t>(d)].at(role.vars);

    Transfer transfer{};
    Chunk& chunk = transfer.chunk;
    chunk.access = is_load ? Access::read : step.kind == StepKind::store ? Access::write : Access::reduce;
    chunk.plain = plain;
    chunk.policy = static_cast<std::uint8_t>(tensor.policy) & 3;
    chunk.sm = static_cast<std::uint8_t>(index_);
    chunk.cta = static_cast<std::uint8_t>(slot);
    chunk.role = static_cast<std::uint8_t>(role_index);
    chunk.copies = 1;
    transfer.ready_ps = now;
    transfer.delay_ps = static_cast<double>(cycles(device_.sm.load_issue_cycles));
    if (!plain) {
        transfer.setup_ps = static_cast<double>(cycles(device_.tma.command_cycles));
        transfer.delay_ps += static_cast<double>(cycles(device_.tma.latency_cycles));
        auto& cached = descriptor_[static_cast<std::size_t>(step.tensor)];
        if (cached != cta.kernel + 1) {
            cached = cta.kernel + 1;
            transfer.setup_ps += static_cast<double>(cycles(device_.tma.descriptor_miss_cycles));
        }
        now += cycles(device_.tma.issue_cycles);
    }
    const std::uint32_t granule = wiring_.map.granule_bytes();
    const auto piece = step.piece_bytes > 0 ? std::min(granule, static_cast<std::uint32_t>(step.piece_bytes)) : granule;
    transfer.walk = BoxWalk(tensor, origin, step.box, piece);
    if (!is_load) {
        std::int32_t pieces = 0;
        for (BoxWalk counting = transfer.walk; !counting.done(); counting.advance()) ++pieces;
        if (pieces == 0) return;  // beyond the tensor's edge
        role.stores_in_flight += pieces;
        cta.stores_in_flight += pieces;
        ++role.stores_unread;
        stores_.queue.push(transfer);
        emit(stores_, transfer.ready_ps);
        return;
    }
    const Cursor& cursor = role.cursor[static_cast<std::size_t>(step.ring)];
    RingState& ring = cta.rings[static_cast<std::size_t>(step.ring)];
    const auto stage = static_cast<std::size_t>((cursor.acquired - 1) % ring.stages);
    chunk.ring = static_cast<std::uint8_t>(step.ring) & 15;
    chunk.stage = static_cast<std::uint8_t>(stage);
    if (watched() && ring.stage[stage].expected == 0) {
        ring.stage[stage].issued_ps = now;
        for (std::size_t d = 0; d < ring.stage[stage].tile.size(); ++d)
            ring.stage[stage].tile[d] = static_cast<int>(role.vars[d]);
    }
    ring.stage[stage].expected += transfer.walk.bytes();
    if (step.multicast_ctas > 1) {
        // This CTA fetches its share of the box; the crossbar hands it to every CTA of the group.
        const int place = cta.rank / step.multicast_stride % step.multicast_ctas;
        trace::Extents share = step.box;
        std::size_t dim = 0;
        while (dim + 1 < static_cast<std::size_t>(tensor.rank) && share[dim] % step.multicast_ctas != 0) ++dim;
        share[dim] /= step.multicast_ctas;
        origin[dim] += share[dim] * place;
        transfer.walk = BoxWalk(tensor, origin, share, granule);
        chunk.copies = static_cast<std::uint8_t>(step.multicast_ctas);
        chunk.cluster = static_cast<std::uint16_t>(cta.cluster);
        chunk.multicast_base = static_cast<std::uint8_t>(cta.rank - place * step.multicast_stride) & 15;
        chunk.multicast_stride = static_cast<std::uint8_t>(step.multicast_stride) & 15;
        transfer.delay_ps += static_cast<double>(cycles(device_.tma.multicast_extra_cycles));
    }
    Engine& engine = plain ? loads_ : tma_;
    engine.queue.push(transfer);
    emit(engine, transfer.ready_ps);
}

void Sm::commit(Cta& cta, int slot, RoleState& role, int ring_index, std::int64_t now) {
    RingState& ring = cta.rings[static_cast<std::size_t>(ring_index)];
    Cursor& cursor = role.cursor[static_cast<std::size_t>(ring_index)];
    Stage& stage = ring.stage[static_cast<std::size_t>(cursor.committed++ % ring.stages)];
    stage.committed = true;
    if (stage.arrived >= stage.expected) stage_full(cta, slot, ring_index, stage, std::max(now, stage.full_ps));
}

void Sm::stage_full(Cta& cta, int slot, int ring_index, Stage& stage, std::int64_t at_ps) {
    stage.full_generation = stage.generation;
    stage.full_ps = at_ps;
    if (watched() && stage.expected > 0) {
        const auto index = &stage - cta.rings[static_cast<std::size_t>(ring_index)].stage.data();
        bench_.timeline->push_back({index_, TimelineSpan::Track::tma,
                                    ring_index * TimelineSpan::kLanesOfRing + static_cast<int>(index), cta.kernel,
                                    stage.tile, Ps{stage.issued_ps}, Ps{at_ps}});
    }
    if (data_seen_ != cta.kernel + 1 && stage.expected > 0) {  // without data it only orders
        data_seen_ = cta.kernel + 1;
        send(*launch_, at_ps + launch_->exit_latency_ps(), LaunchUnit::first_data, cta.kernel);
    }
    for (std::size_t r = 0; r < cta.roles.size(); ++r) {
        RoleState& role = cta.roles[r];
        if (role.wait != Wait::full || role.wait_ring != ring_index) continue;
        if (role.cursor[static_cast<std::size_t>(ring_index)].consumed != stage.full_generation) continue;
        counters_.wait_data_ps += static_cast<double>(std::max<std::int64_t>(0, at_ps - role.wait_since_ps));
        if (watched()) note(TimelineSpan::Track::wait, role.instance, cta, role, role.wait_since_ps, at_ps);
        wake(cta, slot, static_cast<int>(r), at_ps);
    }
}

Sm::Outcome Sm::wait_full(Cta& cta, RoleState& role, int ring_index, std::int64_t& now) {
    RingState& ring = cta.rings[static_cast<std::size_t>(ring_index)];
    Cursor& cursor = role.cursor[static_cast<std::size_t>(ring_index)];
    Stage& stage = ring.stage[static_cast<std::size_t>(cursor.consumed % ring.stages)];
    if (stage.full_generation != cursor.consumed) {
        role.wait_ring = static_cast<std::uint8_t>(ring_index);
        return block(role, Wait::full, now);
    }
    ++cursor.consumed;
    now = std::max(now, stage.full_ps);
    // Even a successful try_wait takes its latency; a scoreboard on registers does not.
    if (!program(cta).kernel->rings[static_cast<std::size_t>(ring_index)].registers)
        now += cycles(device_.sm.barrier_wait_cycles);
    if (role.instance == 0)
        counters_.life.smem_wait += static_cast<double>(now - stage.full_ps) * static_cast<double>(stage.expected);
    if (role.instance == 0 && watched()) stage.seen_ps = now;
    return Outcome::next;
}

void Sm::release(Cta& cta, int slot, RoleState& role, int ring_index, std::int64_t now) {
    RingState& ring = cta.rings[static_cast<std::size_t>(ring_index)];
    Cursor& cursor = role.cursor[static_cast<std::size_t>(ring_index)];
    const auto stage = static_cast<int>(cursor.released++ % ring.stages);
    const Stage& state = ring.stage[static_cast<std::size_t>(stage)];
    if (role.instance == 0)
        counters_.life.compute += static_cast<double>(now - state.full_ps) * static_cast<double>(state.expected);
    if (role.instance == 0 && watched() && state.expected > 0) {
        bench_.tiles->push_back({index_, slot, ring_index, Ps{cta.began_ps}, cursor.released - 1, state.tile,
                                 Ps{state.issued_ps}, Ps{state.full_ps}, Ps{state.seen_ps}, Ps{now},
                                 program(cta).kernel->rings[static_cast<std::size_t>(ring_index)].registers});
    }
    const auto at = now + cycles(device_.sm.barrier_arrive_cycles);
    if (program(cta).ring_group[static_cast<std::size_t>(ring_index)] > 1) {
        const ClusterRecord& cluster = bench_.clusters[cta.cluster];
        const std::int64_t due = at + cycles(device_.crossbar.cluster_latency_cycles);
        for (int rank = 0; rank < cluster.ctas; ++rank) {
            if (rank == cta.rank) continue;
            const auto i = static_cast<std::size_t>(rank);
            send(*sms_[cluster.sm[i]], due, peer_release,
                 static_cast<std::uint32_t>(cluster.slot[i]) << 8 | static_cast<std::uint32_t>(ring_index),
                 static_cast<std::uint32_t>(stage));
        }
    }
    local_release(cta, slot, ring_index, stage, true, at);
}

void Sm::local_release(Cta& cta, int slot, int ring_index, int stage_index, bool own, std::int64_t at_ps) {
    RingState& ring = cta.rings[static_cast<std::size_t>(ring_index)];
    Stage& stage = ring.stage[static_cast<std::size_t>(stage_index)];
    ++stage.releases;
    if (own && ++stage.local_releases == ring.local_consumers) {
        // Free for the next round here; a peer's multicast for it may land before this CTA's producer comes round.
        stage.local_releases = 0;
        stage.arrived = 0;
        stage.full_ps = 0;
    }
    if (stage.releases < ring.consumers) return;
    for (std::size_t r = 0; r < cta.roles.size(); ++r) {
        RoleState& role = cta.roles[r];
        if (role.wait == Wait::empty && role.wait_ring == ring_index &&
            role.cursor[static_cast<std::size_t>(ring_index)].acquired % ring.stages == stage_index) {
            wake(cta, slot, static_cast<int>(r), at_ps);
        }
    }
}

void Sm::mma(Cta&, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now) {
    const MmaCost cost = mma_cost(step.mma, device_.tensor);
    now += cycles(device_.tensor.issue_cycles * cost.instructions);
    const double cycle = wiring_.sm_clock.period_ps();
    MmaJob job{static_cast<std::uint8_t>(slot), static_cast<std::uint8_t>(role_index), cost.tensor_cycles * cycle,
               cost.operand_bytes * smem_ps_per_byte_, cost.instructions};
    tensor_.add(job);
    counters_.smem_bytes += static_cast<std::uint64_t>(cost.operand_bytes);
    counters_.smem_busy_ps += job.operand_ps;
    ++role.mma_in_flight;
    if (!tensor_.busy()) {
        start_mma(now);
    } else if (tensor_.cut_turn(now, smem_other_ps_)) {
        post(std::max(now, tensor_.turn_ends(smem_other_ps_)), mma_check, tensor_.turn());
    }
}

Sm::Outcome Sm::vector_work(int slot, int role_index, const Cta& cta, RoleState& role, const trace::Step& step,
                            std::int64_t& now) {
    const double cycle = wiring_.sm_clock.period_ps();
    const double fp32 = step.vec.fp32_ops / device_.sm.fp32_ops_per_cycle * cycle;
    const double sfu = step.vec.sfu_ops / device_.sm.sfu_ops_per_cycle * cycle;
    counters_.vector_busy_ps += fp32;
    counters_.sfu_busy_ps += sfu;
    std::int64_t earliest = now;
    if (step.vec.smem_bytes > 0) {
        use_smem(static_cast<std::int64_t>(step.vec.smem_bytes));
        earliest += static_cast<std::int64_t>(step.vec.smem_bytes * smem_ps_per_byte_);
    }
    if (fp32 > 0 || sfu > 0) {
        vector_.advance(now, [&](const VectorUnits::Step& done) { finish_vector(done, now); });
        vector_.begin(
            {static_cast<std::uint32_t>(slot) << 8 | static_cast<std::uint32_t>(role_index), fp32, sfu, now, earliest});
        await_vector();
        return block(role, Wait::vector, now);
    }
    const std::int64_t done = earliest + cycles(step.vec.latency_cycles);
    if (watched()) note(TimelineSpan::Track::vector, role.instance, cta, role, now, done);
    now = done;
    return Outcome::next;
}

Sm::Outcome Sm::sync_cta(Cta& cta, int slot, RoleState& role, std::int64_t now) {
    ++role.pc;  // when woken, it is past the barrier
    if (++cta.at_barrier == cta.roles_left) {
        cta.at_barrier = 0;
        post(now + cycles(device_.sm.cta_barrier_cycles), cta_barrier, static_cast<std::uint32_t>(slot));
    }
    return block(role, Wait::cta_barrier, now);
}

Sm::Outcome Sm::sync_cluster(Cta& cta, RoleState& role, std::int64_t now) {
    ++role.pc;
    const std::int64_t due = now + cluster_barrier_ps();
    Sm& leader = *sms_[bench_.clusters[cta.cluster].sm[0]];
    if (&leader == this) {
        post(due, cluster_arrive, cta.cluster);
    } else {
        send(leader, due, cluster_arrive, cta.cluster);
    }
    return block(role, Wait::cluster_barrier, now);
}

Sm::Outcome Sm::chase(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now) {
    const trace::ChaseShape& shape = step.chase;
    if (role.chase_done == 0) bench_.chase_samples.reserve(static_cast<std::size_t>(shape.accesses));
    const std::int64_t total = shape.warmup_accesses + shape.accesses;
    if (shape.space != trace::ChaseSpace::global) {
        // A chain in shared memory meets nobody: every access costs the same.
        double latency = device_.sm.smem_latency_cycles;
        if (shape.space == trace::ChaseSpace::distributed) latency += 2 * device_.crossbar.cluster_latency_cycles;
        bench_.chase_samples.assign(static_cast<std::size_t>(shape.accesses), latency);
        now += cycles(latency * static_cast<double>(total));
        return Outcome::next;
    }
    if (role.chase_done == total) {
        role.chase_done = 0;
        return Outcome::next;
    }
    chase_access(cta, slot, role_index, role, step, now);
    return block(role, Wait::chase, now);
}

void Sm::chase_access(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t now) {
    const trace::ChaseShape& shape = step.chase;
    const trace::Tensor& tensor = bench_.trace->tensors[static_cast<std::size_t>(step.tensor)];
    const auto places = static_cast<std::uint64_t>(std::max<std::int64_t>(1, shape.bytes / shape.stride_bytes));
    const std::uint64_t address =
        tensor.base +
        shuffled(static_cast<std::uint64_t>(role.chase_done + step.origin[0].at(role.vars)) % places, places) *
            static_cast<std::uint64_t>(shape.stride_bytes);
    role.chase_began_ps = now;
    if (shape.path == trace::LoadPath::plain_l1 && l1_.access(address)) {
        post(now + cycles(device_.sm.l1_latency_cycles), chase_hit,
             static_cast<std::uint32_t>(slot) << 8 | static_cast<std::uint32_t>(role_index));
        return;
    }
    Chunk chunk{};
    locate(chunk, address, static_cast<std::uint32_t>(shape.access_bytes));
    chunk.access = Access::read;
    chunk.copies = 1;
    chunk.sm = static_cast<std::uint8_t>(index_);
    chunk.plain = shape.path != trace::LoadPath::tma;
    chunk.cta = static_cast<std::uint8_t>(slot);
    chunk.role = static_cast<std::uint8_t>(role_index);
    chunk.ring = kChaseRing;
    double issue = device_.sm.load_issue_cycles;
    if (!chunk.plain) issue += device_.tma.command_cycles + device_.tma.latency_cycles;
    Engine& engine = chunk.plain ? loads_ : tma_;
    engine.in_flight += engine.cost(chunk);
    (void)cta;
    send_request(chunk, now + cycles(issue));
}

void Sm::chase_answer(Cta& cta, int slot, int role_index, std::int64_t now_ps) {
    RoleState& role = cta.roles[static_cast<std::size_t>(role_index)];
    const trace::Step& step = program(cta).roles[role.role].role->steps[role.pc];
    const trace::ChaseShape& shape = step.chase;
    const double back =
        shape.path == trace::LoadPath::tma ? device_.sm.barrier_wait_cycles : device_.sm.load_return_cycles;
    chase_complete(slot, role_index, now_ps + cycles(back));
}

void Sm::chase_complete(int slot, int role_index, std::int64_t at_ps) {
    Cta& cta = slots_[static_cast<std::size_t>(slot)];
    RoleState& role = cta.roles[static_cast<std::size_t>(role_index)];
    const trace::ChaseShape& shape = program(cta).roles[role.role].role->steps[role.pc].chase;
    if (role.chase_done++ >= shape.warmup_accesses) {
        bench_.chase_samples.push_back(wiring_.sm_clock.cycles(Ps{at_ps - role.chase_began_ps}));
    }
    wake(cta, slot, role_index, at_ps);
}

void Sm::describe_waits(std::vector<std::string>& lines) const {
    static const char* const kNames[] = {"runs",
                                         "is about to run",
                                         "waits for an empty stage",
                                         "waits for a full stage",
                                         "waits for its tensor-core work",
                                         "works",
                                         "waits for its stores",
                                         "waits until its stores have been read",
                                         "waits at the CTA barrier",
                                         "waits at the cluster barrier",
                                         "waits for the previous kernel",
                                         "waits for a dependent load",
                                         "waits for the number of its next work item",
                                         "waits for a signal of another CTA",
                                         "is done"};
    for (std::size_t s = 0; s < slots_.size(); ++s) {
        const Cta& cta = slots_[s];
        if (!cta.live) continue;
        const trace::Kernel& kernel = *program(cta).kernel;
        for (const RoleState& role : cta.roles) {
            if (role.wait == Wait::done) continue;
            std::string line =
                fmt::format("sm{} slot {} CTA {} of {}: {}[{}] {}", index_, s, cta.index, kernel.name,
                            kernel.roles[role.role].name, role.instance, kNames[static_cast<std::size_t>(role.wait)]);
            if (role.wait == Wait::full || role.wait == Wait::empty) {
                const RingState& ring = cta.rings[role.wait_ring];
                const Cursor& cursor = role.cursor[role.wait_ring];
                const std::int64_t generation = role.wait == Wait::full ? cursor.consumed : cursor.acquired;
                const Stage& stage = ring.stage[static_cast<std::size_t>(generation % ring.stages)];
                line += fmt::format(" {} of ring '{}' (fill {}; {} of {} bytes landed, {} of {} consumers released it)",
                                    generation % ring.stages, kernel.rings[role.wait_ring].name, generation,
                                    stage.arrived, stage.expected, stage.releases, ring.consumers);
            }
            line += fmt::format(", tile ({}, {}, {}, {}), since {:.3f} us", role.vars[0], role.vars[1], role.vars[2],
                                role.vars[3], static_cast<double>(role.wait_since_ps) * 1e-6);
            lines.push_back(std::move(line));
        }
    }
}

}  // namespace memwall::chip
