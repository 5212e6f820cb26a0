#include "chip/sm/sm.h"

#include <fmt/core.h>

#include <algorithm>

#include "chip/crossbar/crossbar.h"
#include "chip/launch/launch_unit.h"

namespace memwall::chip {

namespace {

/// 128-byte requests that a run of bytes takes.
std::uint32_t lines_of(std::uint64_t address, std::uint32_t bytes) {
    constexpr std::uint32_t kLineBytes = 128;
    return (static_cast<std::uint32_t>(address) % kLineBytes + bytes + kLineBytes - 1) / kLineBytes;
}

constexpr std::uint64_t kAddressMask = (1ULL << 48) - 1;

}  // namespace

Sm::Sm(const sc_core::sc_module_name& name, Shared& shared, Workbench& bench, int index, std::uint32_t id)
    : PartOf(name, shared.grid, id),
      shared_(shared),
      wiring_(shared.wiring),
      bench_(bench),
      device_(shared.wiring.device),
      index_(index),
      partition_(shared.wiring.sm_partition[static_cast<std::size_t>(index)]),
      slices_(&wiring_.partition_slices[static_cast<std::size_t>(partition_)]),
      to_crossbar_ps_(wiring_.sm_to_crossbar_ps[static_cast<std::size_t>(index)]),
      slots_(kSlots),
      orders_(kSlots),
      descriptor_(bench.trace->tensors.size(), 0),
      l1_(device_.sm.l1_bytes, device_.l2.line_bytes) {
    const double cycle = wiring_.sm_clock.period_ps();
    smem_ps_per_byte_ = cycle / device_.sm.smem_bytes_per_cycle;
    async_copy_ps_per_byte_ = cycle / device_.sm.async_copy_bytes_per_cycle;
    atomic_ps_ = atomic_latency_ps(wiring_, index_);
    tma_.ps_per_line = device_.tma.cycles_per_request * cycle;
    tma_.limit = device_.tma.requests_in_flight;
    loads_.ps_per_byte = cycle / device_.sm.lsu_bytes_per_cycle;
    loads_.by_lines = false;
    loads_.limit = device_.sm.load_bytes_in_flight;
    stores_.ps_per_byte = cycle / device_.sm.lsu_bytes_per_cycle;
    stores_.by_lines = false;
    stores_.limit = device_.sm.store_bytes_in_flight;
}

void Sm::connect(Crossbar& crossbar, LaunchUnit& launch, const std::vector<Sm*>& sms) {
    crossbar_ = &crossbar;
    launch_ = &launch;
    sms_ = sms;
}

void Sm::handle(const Message& message) {
    const std::int64_t now = message.due_ps;
    const auto slot = static_cast<int>(message.payload >> 8);
    const auto low = static_cast<int>(message.payload & 0xFF);
    switch (message.kind) {
        case response:
            break;  // comes in the lane
        case start_cta:
            start(low, now);
            break;
        case resume:
            run(slot, low, now);
            break;
        case mma_check:
            check_mma(message.payload, now);
            break;
        case vector_check:
            check_vector(now);
            break;
        case mma_readable: {
            Cta& cta = slots_[static_cast<std::size_t>(slot)];
            RoleState& role = cta.roles[static_cast<std::size_t>(low)];
            --role.mma_in_flight;
            if (role.wait == Wait::mma && role.mma_in_flight <= role.allowance) run(slot, low, now);
            break;
        }
        case cta_barrier: {
            Cta& cta = slots_[message.payload];
            for (std::size_t r = 0; r < cta.roles.size(); ++r) {
                if (cta.roles[r].wait == Wait::cta_barrier)
                    run(static_cast<int>(message.payload), static_cast<int>(r), now);
            }
            break;
        }
        case peer_release: {
            Cta& cta = slots_[static_cast<std::size_t>(slot)];
            if (cta.live) local_release(cta, slot, low, static_cast<int>(message.arg), false, now);
            break;
        }
        case cluster_arrive: {
            ClusterRecord& cluster = bench_.clusters[message.payload];
            if (++cluster.arrived < cluster.ctas) break;
            cluster.arrived = 0;
            const std::int64_t go = now + cluster_barrier_ps();
            for (int rank = 0; rank < cluster.ctas; ++rank) {
                const auto i = static_cast<std::size_t>(rank);
                if (cluster.sm[i] == index_) {
                    post(go, cluster_go, cluster.slot[i]);
                } else {
                    send(*sms_[cluster.sm[i]], go, cluster_go, cluster.slot[i]);
                }
            }
            break;
        }
        case cluster_go: {
            Cta& cta = slots_[message.payload];
            for (std::size_t r = 0; r < cta.roles.size(); ++r) {
                if (cta.roles[r].wait == Wait::cluster_barrier)
                    run(static_cast<int>(message.payload), static_cast<int>(r), now);
            }
            break;
        }
        case dependency: {
            dependency_ = std::max(dependency_, message.payload);
            for (std::size_t s = 0; s < slots_.size(); ++s) {
                for (std::size_t r = 0; slots_[s].live && r < slots_[s].roles.size(); ++r) {
                    if (slots_[s].roles[r].wait == Wait::dependency && slots_[s].kernel <= dependency_) {
                        run(static_cast<int>(s), static_cast<int>(r), now);
                    }
                }
            }
            break;
        }
        case work:
            take_work(static_cast<int>(message.payload), message.arg, now);
            break;
        case signalled:
            run(slot, low, now);
            break;
        default:
            chase_complete(slot, low, now);
            break;
    }
}

void Sm::start(int slot, std::int64_t now_ps) {
    const StartOrder& order = orders_[static_cast<std::size_t>(slot)];
    Cta& cta = slots_[static_cast<std::size_t>(slot)];
    const Program& p = bench_.programs[order.kernel];
    const trace::Kernel& kernel = *p.kernel;
    cta.live = true;
    cta.exited = false;
    cta.triggered = false;
    cta.kernel = order.kernel;
    cta.index = order.cta;
    cta.cluster = order.cluster;
    cta.rank = order.rank;
    cta.at_barrier = 0;
    cta.stores_in_flight = 0;
    cta.began_ps = now_ps;
    cta.taken.clear();
    cta.taking = false;
    cta.roles.clear();
    for (std::size_t r = 0; r < kernel.rings.size(); ++r) {
        RingState& ring = cta.rings[r];
        ring.stages = kernel.rings[r].stages;
        ring.consumers = kernel.rings[r].consumers;
        ring.local_consumers = std::max(1, ring.consumers / p.ring_group[r]);
        ring.stage.assign(static_cast<std::size_t>(ring.stages), Stage{});
    }
    for (std::size_t r = 0; r < kernel.roles.size(); ++r) {
        for (int instance = 0; instance < kernel.roles[r].instances; ++instance) {
            RoleState& role = cta.roles.emplace_back();
            role.role = static_cast<std::uint8_t>(r);
            role.instance = static_cast<std::uint8_t>(kernel.roles[r].first + instance);
            role.item =
                cta.index / kernel.work.cluster - kernel.ctas / kernel.work.cluster;  // next_item makes it the first
        }
    }
    cta.roles_left = static_cast<int>(cta.roles.size());
    if (live_++ == 0) active_since_ps_ = now_ps;
    ++counters_.ctas;
    if (kernel.work.dynamic) cta.taken.push_back(cta.index);  // the first needs no counter
    for (std::size_t r = 0; r < cta.roles.size(); ++r) {
        RoleState& role = cta.roles[r];
        if (next_item(cta, slot, role, now_ps) == Next::item) {
            run(slot, static_cast<int>(r), now_ps);
        } else {
            finish_role(cta, slot, now_ps);
        }
    }
}

void Sm::finish_role(Cta& cta, int slot, std::int64_t now_ps) {
    if (--cta.roles_left == 0) exit_cta(cta, slot, now_ps);
}

void Sm::trigger_dependents(Cta& cta, std::int64_t now_ps) {
    if (cta.triggered) return;
    cta.triggered = true;
    send(*launch_, now_ps + launch_->exit_latency_ps(), LaunchUnit::cta_triggered, static_cast<std::uint32_t>(index_),
         cta.kernel);
}

void Sm::exit_cta(Cta& cta, int slot, std::int64_t now_ps) {
    cta.exited = true;
    // The slot is free for the next CTA while stores are still on their way; the kernel ends when they have arrived.
    const bool drained = cta.stores_in_flight == 0;
    if (bench_.programs[cta.kernel].triggers) trigger_dependents(cta, now_ps);
    const std::int64_t due = now_ps + launch_->exit_latency_ps();
    send(*launch_, due, LaunchUnit::cta_exited,
         static_cast<std::uint32_t>(index_) << 8 | static_cast<std::uint32_t>(slot),
         cta.kernel << 1 | static_cast<std::uint32_t>(drained));
    if (--live_ == 0) counters_.sm_active_ps += static_cast<double>(now_ps - active_since_ps_);
    if (watched()) note(TimelineSpan::Track::cta, slot, cta, cta.roles.front(), cta.began_ps, now_ps);
    if (drained) cta.live = false;
}

void Sm::accept(std::uint32_t index, std::int64_t now_ps) {
    // A copy: what an answer sets off may take chunks from the pool, and the pool may move.
    const Chunk chunk = shared_.chunks[index];
    if (chunk.access == Access::read) {
        accept_load(chunk, now_ps);
        if (chunk.sm == index_) {
            ++chunks_back_;
            Engine& engine = chunk.plain ? loads_ : tma_;
            engine.in_flight -= engine.cost(chunk);
            if (!engine.queue.empty()) emit(engine, now_ps);
        }
    } else {
        accept_ack(chunk, now_ps);
    }
    if (--shared_.chunks[index].copies == 0) shared_.chunks.give_back(index);
}

void Sm::accept_load(const Chunk& chunk, std::int64_t now_ps) {
    counters_.sm_read_bytes += chunk.bytes;
    if (chunk.sm == index_) {
        counters_.life.bytes += chunk.bytes;
    } else {
        counters_.multicast_bytes += chunk.bytes;
    }
    int slot = chunk.cta;
    if (chunk.sm != index_) {
        const ClusterRecord& cluster = bench_.clusters[chunk.cluster];
        for (int rank = 0; rank < cluster.ctas; ++rank) {
            if (cluster.sm[static_cast<std::size_t>(rank)] == index_)
                slot = cluster.slot[static_cast<std::size_t>(rank)];
        }
    }
    Cta& cta = slots_[static_cast<std::size_t>(slot)];
    if (chunk.ring == kChaseRing) [[unlikely]] {
        chase_answer(cta, slot, chunk.role, now_ps);
        return;
    }
    std::int64_t landed = now_ps;
    if (chunk.plain) {
        landed += cycles(device_.sm.load_return_cycles);
        if (!program(cta).kernel->rings[chunk.ring].registers) use_smem(chunk.bytes, async_copy_ps_per_byte_);
    } else {
        use_smem(chunk.bytes);
        landed += static_cast<std::int64_t>(chunk.bytes * smem_ps_per_byte_);
    }
    Stage& stage = cta.rings[chunk.ring].stage[chunk.stage];
    stage.arrived += chunk.bytes;
    stage.full_ps = std::max(stage.full_ps, landed);
    if (stage.committed && stage.arrived >= stage.expected) stage_full(cta, slot, chunk.ring, stage, stage.full_ps);
}

void Sm::accept_ack(const Chunk& chunk, std::int64_t now_ps) {
    ++chunks_back_;
    stores_.in_flight -= stores_.cost(chunk);
    if (!stores_.queue.empty()) emit(stores_, now_ps);
    Cta& cta = slots_[chunk.cta];
    RoleState& role = cta.roles[chunk.role];
    --cta.stores_in_flight;
    if (--role.stores_in_flight == 0 && role.wait == Wait::stores) wake(cta, chunk.cta, chunk.role, now_ps);
    if (cta.exited && cta.stores_in_flight == 0) {
        cta.live = false;
        send(*launch_, now_ps + launch_->exit_latency_ps(), LaunchUnit::cta_drained,
             static_cast<std::uint32_t>(index_) << 8 | chunk.cta, cta.kernel);
    }
}

void Sm::emit(Engine& engine, std::int64_t now_ps) {
    while (!engine.queue.empty()) {
        Transfer& transfer = engine.queue.front();
        if (!engine.set_up) {
            engine.free_ps =
                std::max({engine.free_ps, static_cast<double>(now_ps), static_cast<double>(transfer.ready_ps)}) +
                transfer.setup_ps;
            engine.set_up = true;
        }
        engine.free_ps = std::max(engine.free_ps, static_cast<double>(now_ps));
        for (; !transfer.walk.done(); transfer.walk.advance()) {
            const BoxWalk::Piece piece = transfer.walk.piece();
            const int cost = engine.by_lines ? static_cast<int>(lines_of(piece.address, piece.bytes))
                                             : static_cast<int>(piece.bytes);
            if (engine.in_flight > 0 && engine.in_flight + cost > engine.limit)
                return;  // goes on when an answer comes back
            engine.in_flight += cost;
            Chunk chunk = transfer.chunk;
            locate(chunk, piece.address, piece.bytes);
            if (chunk.access != Access::read) {
                counters_.sm_write_bytes += chunk.bytes;
                if (!chunk.plain) use_smem(chunk.bytes);
            }
            send_request(chunk, static_cast<std::int64_t>(engine.free_ps + transfer.delay_ps));
            engine.free_ps += engine.ps_per_line * chunk.lines + engine.ps_per_byte * chunk.bytes;
        }
        if (&engine == &stores_) stores_read(transfer.chunk, static_cast<std::int64_t>(engine.free_ps));
        engine.queue.pop();
        engine.set_up = false;
    }
}

void Sm::stores_read(const Chunk& chunk, std::int64_t at_ps) {
    Cta& cta = slots_[chunk.cta];
    RoleState& role = cta.roles[chunk.role];
    role.stores_read_ps = at_ps;
    if (--role.stores_unread == 0 && role.wait == Wait::reads) wake(cta, chunk.cta, chunk.role, at_ps);
}

void Sm::locate(Chunk& chunk, std::uint64_t address, std::uint32_t bytes) const {
    const Place place = wiring_.map.place(address);
    chunk.address = address & kAddressMask;
    chunk.bytes = static_cast<std::uint16_t>(bytes);
    chunk.lines = static_cast<std::uint8_t>(lines_of(address, bytes));
    chunk.far = place.partition != partition_;
    chunk.slice = static_cast<std::uint8_t>((*slices_)[place.index]);
}

void Sm::send_request(Chunk& chunk, std::int64_t leaves_ps) {
    chunk.entered = static_cast<std::uint32_t>(leaves_ps);
    const std::uint32_t index = shared_.chunks.take();
    shared_.chunks[index] = chunk;
    ++chunks_out_;
    send(*crossbar_, leaves_ps + to_crossbar_ps_, Crossbar::request, index);
}

std::size_t Sm::multicast_peer(const Chunk& chunk, int copy) const {
    const ClusterRecord& cluster = bench_.clusters[chunk.cluster];
    // Copies go round the group, starting after the SM that asked.
    int group = 0;
    for (int rank = chunk.multicast_base; rank < cluster.ctas; rank += chunk.multicast_stride) {
        const auto sm = cluster.sm[static_cast<std::size_t>(rank)];
        if (sm != chunk.sm && ++group == copy) return sm;
    }
    throw ModelError(fmt::format("{}: a multicast names more copies than its group has CTAs", name()));
}

void Sm::check_mma(std::uint32_t turn, std::int64_t now_ps) {
    if (turn != tensor_.turn()) return;  // that turn was cut
    const std::int64_t end = tensor_.turn_ends(smem_other_ps_);
    if (end > now_ps) {
        post(end, mma_check, turn);
        return;
    }
    if (const auto job = tensor_.end_turn(now_ps, smem_other_ps_)) {
        counters_.tensor_busy_ps += job->tensor_ps;
        const Cta& cta = slots_[job->cta];
        const RoleState& role = cta.roles[job->role];
        if (watched()) note(TimelineSpan::Track::tensor, role.instance, cta, role, job->first_ps, now_ps);
        post(now_ps + cycles(device_.tensor.drain_cycles), mma_readable,
             static_cast<std::uint32_t>(job->cta) << 8 | job->role);
    }
    if (!tensor_.empty()) start_mma(now_ps);
}

void Sm::start_mma(std::int64_t now_ps) {
    const std::int64_t end = tensor_.begin_turn(now_ps, smem_other_ps_);
    post(end, mma_check, tensor_.turn());
}

void Sm::check_vector(std::int64_t now_ps) {
    if (now_ps >= vector_due_ps_) vector_due_ps_ = kNever.count;
    if (vector_.idle()) return;
    vector_.advance(now_ps, [&](const VectorUnits::Step& step) { finish_vector(step, now_ps); });
    await_vector();
}

void Sm::await_vector() {
    if (vector_.idle()) return;
    const std::int64_t next = vector_.next_ps();
    if (next >= vector_due_ps_) return;
    vector_due_ps_ = next;
    post(next, vector_check, 0);
}

void Sm::finish_vector(const VectorUnits::Step& done, std::int64_t now_ps) {
    const auto slot = static_cast<int>(done.who >> 8), role_index = static_cast<int>(done.who & 0xFF);
    Cta& cta = slots_[static_cast<std::size_t>(slot)];
    RoleState& role = cta.roles[static_cast<std::size_t>(role_index)];
    const trace::Step& step = program(cta).roles[role.role].role->steps[role.pc];
    const std::int64_t end = std::max(now_ps, done.earliest_ps) + cycles(step.vec.latency_cycles);
    if (watched()) note(TimelineSpan::Track::vector, role.instance, cta, role, done.began_ps, end);
    ++role.pc;
    role.wait = Wait::start;
    post(end, resume, done.who);
}

void Sm::note(TimelineSpan::Track track, int lane, const Cta& cta, const RoleState& role, std::int64_t begin,
              std::int64_t end) {
    TimelineSpan span{index_, track, lane, cta.kernel, {}, Ps{begin}, Ps{end}};
    for (std::size_t d = 0; d < span.tile.size(); ++d) span.tile[d] = static_cast<int>(role.vars[d]);
    bench_.timeline->push_back(span);
}

PartTraffic Sm::traffic() const {
    return {fmt::format("sm{}", index_), counters_.sm_read_bytes, counters_.sm_write_bytes, 0};
}

void Sm::check_empty() const {
    if (chunks_out_ != chunks_back_) {
        throw ModelError(
            fmt::format("{}: conservation broken: {} requests sent, {} answered", name(), chunks_out_, chunks_back_));
    }
}

}  // namespace memwall::chip
