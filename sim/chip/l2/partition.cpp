#include "chip/l2/partition.h"

#include <fmt/core.h>

#include <bit>

#include "chip/crossbar/crossbar.h"
#include "chip/hbm/stack.h"

namespace memwall::chip {

namespace {

// Evictions in front of memory, in multiples of its write queue, at which a slice stops accepting. Not published; twice
// lets the controller see a full queue while the slice prepares the next batch.
constexpr int kWriteQueuesAhead = 2;

}  // namespace

L2Partition::L2Partition(const sc_core::sc_module_name& name, Shared& shared, MemoryPools& pools, int half,
                         std::uint32_t id)
    : PartOf(name, shared.grid, id), shared_(shared), wiring_(shared.wiring), pools_(pools), half_(half) {
    const auto& l2 = wiring_.device.l2;
    const auto& hbm = wiring_.device.hbm;
    const int sets = l2.slice_bytes / (l2.ways * l2.line_bytes);
    lines_per_granule_ = static_cast<std::size_t>(l2.interleave_bytes / l2.line_bytes);
    groups_ = Divisor(static_cast<std::uint32_t>(sets) / static_cast<std::uint32_t>(lines_per_granule_));
    const int sectors_per_line = l2.line_bytes / l2.sector_bytes;
    line_shift_ = std::countr_zero(static_cast<unsigned>(sectors_per_line));
    sector_mask_ = (1U << sectors_per_line) - 1;
    sector_bytes_ = l2.sector_bytes;
    hit_ps_ = from_ns(l2.hit_ns).count;
    miss_ps_ = from_ns(l2.miss_ns).count;
    fill_ps_ = from_ns(l2.fill_ns).count;
    replay_ps_ = from_ns(l2.fill_replay_ns).count;
    lookup_ps_ = wiring_.l2_clock.period_ps() / l2.lines_per_cycle;
    header_bytes_ = wiring_.device.crossbar.request_bytes;
    const int fill_sectors = l2.fill_bytes / l2.sector_bytes;
    for (unsigned wanted = 0; wanted <= TagStore::kSectors; ++wanted) {
        unsigned fetched = 0;
        for (int s = 0; s < sectors_per_line; s += fill_sectors) {
            const unsigned together = ((1U << fill_sectors) - 1) << s;
            if ((wanted & together) != 0) fetched |= together;
        }
        fetched_[wanted] = static_cast<std::uint8_t>(fetched);
    }
    pieces_ = static_cast<unsigned>(lines_per_granule_ << line_shift_) / wiring_.map.piece_sectors();
    channels_ = Divisor(static_cast<std::uint32_t>(wiring_.map.channels_per_slice()));
    const auto replacement = l2.replacement == "random" ? Replacement::random : Replacement::lru;
    slice_numbers_ = wiring_.partition_slices[static_cast<std::size_t>(half)];
    write_limit_ = kWriteQueuesAhead * hbm.write_queue_entries * fill_sectors * wiring_.map.channels_per_slice();
    for (const int number : slice_numbers_) {
        slices_.emplace_back(sets, l2.ways, replacement);
        traffic_.push_back({fmt::format("slice{}", number), 0, 0, 0});
    }
}

void L2Partition::connect(Crossbar& crossbar, L2Partition& other, const std::vector<HbmStack*>& stacks) {
    crossbar_ = &crossbar;
    other_ = &other;
    stacks_ = stacks;
}

void L2Partition::soil(double share) {
    // By granules, as earlier work would have left them, spread evenly; under tags that no address of memory has.
    double owed = 0;
    for (auto& slice : slices_) {
        for (std::uint32_t group = 0; group < groups_.value(); ++group) {
            for (int way = 0; way < wiring_.device.l2.ways; ++way) {
                owed += share;
                if (owed < 1) continue;
                owed -= 1;
                for (std::size_t line = 0; line < lines_per_granule_; ++line) {
                    TagStore::Set& set = slice.tags.set(set_of(group, static_cast<int>(line)));
                    set.tag[way] = static_cast<std::uint16_t>(TagStore::kInvalid - 1 - way);
                    set.sectors[way] = static_cast<std::uint8_t>(sector_mask_ | sector_mask_ << TagStore::kDirtyShift);
                }
            }
        }
    }
}

void L2Partition::handle(const Message& message) {
    const std::uint32_t item = message.payload;
    switch (message.kind) {
        case request:
            accept(item, message.due_ps);
            break;
        case far_read:
            accept_far_read(item, message.due_ps, false);
            break;
        case far_write:
            accept_far_write(item, message.due_ps);
            break;
        case far_data:
            finish_fill(item, message.due_ps);
            break;
        case far_ack:
            answer(item, message.due_ps);
            break;
        case dram_done:
            finish_run(item, message.due_ps);
            break;
        default:
            withdraw_copy(message.arg >> 16, item, message.arg & 0xFFFF);
            break;
    }
}

void L2Partition::prefetch(const WaitingMessage& message, int stage) const {
    const std::uint32_t item = message.payload, kind = message.kind();
    const bool of_chunk = kind == request || kind == far_write;
    const bool of_fill = kind == far_read || kind == far_data;
    const bool of_run = kind == dram_done;
    if (stage == 0) {
        if (of_chunk) {
            shared_.chunks.prefetch(item);
        } else if (of_run) {
            pools_.runs.prefetch(item);
        }
        return;
    }
    const std::uint32_t fill = of_fill ? item : of_run ? pools_.runs[item].fill : kNone;
    if (stage == 1) {
        if (fill != kNone) pools_.fills.prefetch(fill);
        return;
    }
    if (fill == kNone && !of_chunk) return;
    if (of_chunk) {
        const Chunk& chunk = shared_.chunks[item];
        const auto slice = static_cast<std::size_t>(wiring_.slice_index[chunk.slice]);
        const std::size_t first = set_of(wiring_.map.place(chunk.address).row, 0);
        const std::uint64_t sectors = sectors_of(chunk);
        const int last = 63 - __builtin_clzll(sectors);
        for (int line = __builtin_ctzll(sectors) >> line_shift_; line <= last >> line_shift_; ++line) {
            slices_[slice].tags.prefetch(first + static_cast<std::size_t>(line));
        }
        return;
    }
    const Fill& coming = pools_.fills[fill];
    if ((coming.first_asker & Asker::kFarFill) == 0) shared_.chunks.prefetch(coming.first_asker);
    const std::size_t first = set_of(coming.row, 0);
    for (unsigned left = coming.lines; left != 0; left &= left - 1) {
        slices_[coming.slice].tags.prefetch(first + static_cast<std::size_t>(__builtin_ctz(left)));
    }
}

std::int64_t L2Partition::look_up_begins(Slice& slice, int accesses, std::int64_t now_ps) {
    const double busy_ps = lookup_ps_ * accesses;
    counters_.l2_lookup_busy_ps += busy_ps;
    return static_cast<std::int64_t>(slice.lookups.reserve(static_cast<double>(now_ps), busy_ps));
}

Counters L2Partition::counters(std::int64_t now_ps) const {
    Counters counted = counters_;
    for (const Slice& slice : slices_)
        counted.l2_lookup_busy_ps -= std::max(0.0, slice.lookups.free_ps - static_cast<double>(now_ps));
    return counted;
}

int L2Partition::accesses_of(const Chunk& chunk) const {
    const bool writes_here =
        chunk.access == Access::write && (wiring_.slice_partition[chunk.slice] != half_) == chunk.far;
    if (!writes_here) return chunk.lines;
    const auto sector = static_cast<std::uint64_t>(sector_bytes_);
    const int parts = (chunk.address % sector != 0 ? 1 : 0) + ((chunk.address + chunk.bytes) % sector != 0 ? 1 : 0);
    return chunk.lines + std::min<int>(chunk.lines, parts);
}

void L2Partition::accept(std::uint32_t index, std::int64_t now_ps) {
    Chunk& chunk = shared_.chunks[index];
    auto& slice = slices_[static_cast<std::size_t>(wiring_.slice_index[chunk.slice])];
    ++chunks_in_;
    // Behind a full write-back queue everything waits: an eviction might be needed.
    if (!slice.stalled.empty() || slice.writes_in_flight > write_limit_) {
        slice.stalled.push(index);
        return;
    }
    const std::int64_t begun = look_up_begins(slice, accesses_of(chunk), now_ps);
    if (chunk.access == Access::read) {
        read(index, begun);
    } else {
        write(index, begun);
    }
}

void L2Partition::read(std::uint32_t index, std::int64_t begun_ps) {
    Chunk& chunk = shared_.chunks[index];
    const Place place = wiring_.map.place(chunk.address);
    const auto slice = static_cast<std::size_t>(wiring_.slice_index[chunk.slice]);
    const std::int64_t ready = begun_ps + hit_ps_;
    const std::uint64_t sectors = sectors_of(chunk);
    const Lookup found = look_up(slice, place.row, chunk.far, sectors, index, chunk.policy, ready);
    if (!chunk.replay) {
        const auto bytes = static_cast<std::uint64_t>(sector_count(sectors) * sector_bytes_);
        counters_.l2_read_bytes += bytes;
        counters_.l2_hit_bytes += static_cast<std::uint64_t>(sector_count(found.hit) * sector_bytes_);
        (chunk.far ? counters_.l2_far_bytes : counters_.l2_near_bytes) += bytes;
        traffic_[slice].bytes_in += bytes;
    }
    chunk.replay = found.replay;
    chunk.waiting = static_cast<std::uint8_t>(found.waits);
    if (found.waits == 0) answer(index, ready);
}

void L2Partition::write(std::uint32_t index, std::int64_t begun_ps) {
    Chunk& chunk = shared_.chunks[index];
    const auto slice = static_cast<std::size_t>(wiring_.slice_index[chunk.slice]);
    const std::uint64_t sectors = sectors_of(chunk);
    const auto bytes = static_cast<std::uint64_t>(sector_count(sectors) * sector_bytes_);
    counters_.l2_write_bytes += bytes;
    traffic_[slice].bytes_in += bytes;
    if (!chunk.far) {
        write_home(index, slice, begun_ps);
        return;
    }
    // The home is the other partition; a copy that this one holds is no longer true.
    const Place place = wiring_.map.place(chunk.address);
    unsigned lines = 0;
    for (std::size_t line = 0; line < lines_per_granule_; ++line) {
        if (sectors >> (line << line_shift_) & sector_mask_) lines |= 1U << line;
    }
    withdraw_copy(slice, place.row, lines);
    const double moved = chunk.bytes + header_bytes_ * chunk.lines;
    const auto leaves =
        static_cast<std::int64_t>(link_out_.reserve(static_cast<double>(begun_ps + hit_ps_), moved * wiring_.link));
    counters_.link_bytes += chunk.bytes;
    send(*other_, leaves + wiring_.link_ps[chunk.slice], far_write, index);
}

void L2Partition::accept_far_write(std::uint32_t index, std::int64_t now_ps) {
    Chunk& chunk = shared_.chunks[index];
    const auto slice = static_cast<std::size_t>(wiring_.slice_index[chunk.slice]);  // mirrored: the same index
    write_home(index, slice, look_up_begins(slices_[slice], accesses_of(chunk), now_ps));
}

void L2Partition::write_home(std::uint32_t index, std::size_t slice, std::int64_t begun_ps) {
    Chunk& chunk = shared_.chunks[index];
    const Place place = wiring_.map.place(chunk.address);
    const std::int64_t ready = begun_ps + hit_ps_;
    if (chunk.access == Access::reduce) {
        // An addition needs the old value: it is a read whose answer is written back.
        const Lookup found = look_up(slice, place.row, false, sectors_of(chunk), index, chunk.policy, ready);
        chunk.replay = found.replay;
        chunk.waiting = static_cast<std::uint8_t>(found.waits);
        if (found.waits == 0) finish_reduce(index, ready);
        return;
    }
    mark_written(slice, place.row, sectors_of(chunk), chunk.policy, begun_ps);
    finish_reduce(index, ready);
}

void L2Partition::finish_reduce(std::uint32_t index, std::int64_t ready_ps) {
    Chunk& chunk = shared_.chunks[index];
    if (chunk.access == Access::reduce) {
        const Place place = wiring_.map.place(chunk.address);
        mark_written(static_cast<std::size_t>(wiring_.slice_index[chunk.slice]), place.row, sectors_of(chunk),
                     chunk.policy, ready_ps);
    }
    if (wiring_.slice_partition[chunk.slice] == half_) {
        answer(index, ready_ps);
    } else {
        send(*other_, ready_ps + wiring_.link_ps[chunk.slice], far_ack, index);
    }
}

void L2Partition::answer(std::uint32_t index, std::int64_t ready_ps) {
    Chunk& chunk = shared_.chunks[index];
    auto& slice = slices_[static_cast<std::size_t>(wiring_.slice_index[chunk.slice])];
    std::int64_t leaves = ready_ps;
    if (chunk.access == Access::read) {
        leaves = static_cast<std::int64_t>(
            slice.out.reserve(static_cast<double>(ready_ps), chunk.bytes * wiring_.slice_port));
        traffic_[static_cast<std::size_t>(wiring_.slice_index[chunk.slice])].bytes_out +=
            static_cast<std::uint64_t>(sector_count(sectors_of(chunk)) * sector_bytes_);
    }
    const double spent = chunk.enter_next(leaves);
    if (chunk.access == Access::read) counters_.life.l2 += spent * chunk.bytes;
    ++chunks_out_;
    send(*crossbar_, leaves + wiring_.crossbar_to_slice_ps[chunk.slice], Crossbar::response, index);
}

void L2Partition::note_wait(Chunk& chunk, const Fill& fill, std::int64_t until_ps) {
    // The fill that came last is what it waited for. One that joined a fill on its way waited for a part of it.
    const double elsewhere = static_cast<double>(fill.hbm_ps) + fill.interposer_ps + fill.link_ps;
    const double waited = static_cast<std::uint32_t>(until_ps) - chunk.entered;
    if (chunk.access != Access::read || elsewhere <= 0) return;
    const double share = std::min(1.0, waited / elsewhere);
    counters_.life.hbm += share * fill.hbm_ps * chunk.bytes;
    counters_.life.interposer += share * fill.interposer_ps * chunk.bytes;
    counters_.life.far_link += share * fill.link_ps * chunk.bytes;
    chunk.entered += static_cast<std::uint32_t>(share * elsewhere);
}

void L2Partition::accept_far_read(std::uint32_t index, std::int64_t now_ps, bool replayed) {
    Fill& fill = pools_.fills[index];
    auto& slice = slices_[fill.slice];
    const int lines = std::max(1, __builtin_popcount(fill.lines));
    const std::int64_t ready = look_up_begins(slice, lines, now_ps) + (replayed ? 0 : hit_ps_);
    const std::uint64_t wanted = fill.sectors;
    const Lookup found = look_up(fill.slice, fill.row, false, wanted, index | Asker::kFarFill, fill.policy, ready);
    Fill& again = pools_.fills[index];  // the look-up may have grown the pool
    if (!replayed) counters_.l2_far_hit_bytes += static_cast<std::uint64_t>(sector_count(found.hit) * sector_bytes_);
    again.waiting = static_cast<std::uint8_t>(found.waits);
    again.replay = found.replay;
    if (found.waits == 0) answer_far(index, ready);
}

void L2Partition::answer_far(std::uint32_t index, std::int64_t ready_ps) {
    Fill& fill = pools_.fills[index];
    const double bytes = sector_count(fill.sectors) * sector_bytes_;
    const auto leaves =
        static_cast<std::int64_t>(link_out_.reserve(static_cast<double>(ready_ps), bytes * wiring_.link));
    counters_.link_bytes += static_cast<std::uint64_t>(bytes);
    const std::int64_t link_ps = wiring_.link_ps[static_cast<std::size_t>(slice_numbers_[fill.slice])];
    fill.link_ps += static_cast<std::int32_t>(leaves - ready_ps + link_ps);
    send(*other_, leaves + link_ps, far_data, index);
}

std::string L2Partition::describe_held() const {
    int stalled = 0, writes = 0;
    for (const Slice& slice : slices_) {
        stalled += slice.stalled.empty() ? 0 : 1;
        writes += slice.writes_in_flight;
    }
    return fmt::format("{}: {} requests inside, {} slices stalled behind write-back, {} bursts on their way to memory",
                       name(), chunks_in_ - chunks_out_, stalled, writes);
}

void L2Partition::check_empty() const {
    if (chunks_in_ != chunks_out_) {
        throw ModelError(
            fmt::format("{}: conservation broken: {} chunks entered, {} left", name(), chunks_in_, chunks_out_));
    }
    for (std::size_t s = 0; s < slices_.size(); ++s) {
        if (traffic_[s].bytes_in < traffic_[s].bytes_out) {
            throw ModelError(fmt::format("{}: conservation broken: {} bytes asked, {} answered", traffic_[s].name,
                                         traffic_[s].bytes_in, traffic_[s].bytes_out));
        }
    }
}

}  // namespace memwall::chip
