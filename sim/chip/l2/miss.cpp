// The miss side of an L2 partition: allocation, fills, write-back, and the queues in front of the pseudo-channels.

#include <fmt/core.h>

#include <algorithm>

#include "chip/hbm/stack.h"
#include "chip/l2/partition.h"

namespace memwall::chip {

L2Partition::Lookup L2Partition::look_up(std::size_t slice_index, std::uint32_t row, bool far, std::uint64_t sectors,
                                         std::uint32_t who, int policy, std::int64_t ready_ps) {
    auto& tags = slices_[slice_index].tags;
    const std::uint32_t tag = row << 1 | static_cast<std::uint32_t>(far);
    // A far fill's answer makes a copy: its home remembers that.
    const auto copied = static_cast<std::uint16_t>((who & Asker::kFarFill) != 0 ? TagStore::kCopied : 0);
    const std::size_t first_set = set_of(row, 0);
    Lookup found;
    std::uint64_t missing = 0, ways = 0;
    unsigned missing_lines = 0;
    int likely = 0;
    std::uint32_t last_fill = kNone;
    const auto wait_for = [&](std::uint32_t fill) {
        if (fill == last_fill) return;
        last_fill = fill;
        add_asker(fill, who);
        ++found.waits;
    };
    for (std::size_t line = 0; line < lines_per_granule_; ++line) {
        const auto shift = line * static_cast<std::size_t>(sectors_per_line_);
        const auto wanted = static_cast<unsigned>(sectors >> shift) & sector_mask_;
        if (wanted == 0) continue;
        TagStore::Set& set = tags.set(first_set + line);
        int way = TagStore::find(set, tag, likely);
        if (way >= 0) {
            likely = way;
            TagStore::touch(set, way);
            set.state[way] |= copied;
            const unsigned state = set.state[way];
            if ((wanted & ~state) == 0) {
                found.hit |= static_cast<std::uint64_t>(wanted) << shift;
                continue;
            }
            if ((state & TagStore::kPending) != 0) {
                const std::uint32_t fill = find_fill(slice_index, tag, line);
                wait_for(fill);
                const auto coming = static_cast<unsigned>(pools_.fills[fill].sectors >> shift) & sector_mask_;
                if ((wanted & ~state & ~coming) != 0) found.replay = true;
                continue;
            }
        } else {
            way = allocate(slice_index, line, row, tag, policy, ready_ps);
            if (way < 0) {
                // Every way of the set awaits a fill: wait for one of them, then look again.
                wait_for(any_fill_of_set(slice_index, line, row));
                found.replay = true;
                continue;
            }
            likely = way;
            set.state[way] |= copied;
        }
        missing |= static_cast<std::uint64_t>(fetch_sectors(wanted & ~set.state[way])) << shift;
        set.state[way] |= TagStore::kPending;
        missing_lines |= 1U << line;
        ways |= static_cast<std::uint64_t>(way) << (4 * line);
    }
    flush_victim(slice_index, ready_ps);
    if (missing_lines == 0) return found;

    const std::uint32_t index = pools_.fills.take();
    pools_.fills[index] = {missing, ways, row, static_cast<std::uint16_t>(slice_index), static_cast<std::uint8_t>(missing_lines), far, 0, 0,
                           false, static_cast<std::uint8_t>(policy), kNone, kNone, ready_ps, 0, 0, 0};
    add_fill(slice_index, index);
    add_asker(index, who);
    ++found.waits;
    fetch(index, ready_ps);
    return found;
}

unsigned L2Partition::fetch_sectors(unsigned wanted) const {
    // Memory is read in granules of two sectors.
    unsigned fetched = 0;
    for (int s = 0; s < sectors_per_line_; s += fill_sectors_) {
        const auto pair = static_cast<unsigned>(fill_pair_mask_) << s;
        if ((wanted & pair) != 0) fetched |= pair;
    }
    return fetched;
}

std::uint32_t L2Partition::find_fill(std::size_t slice, std::uint32_t tag, std::size_t line) const {
    std::uint32_t fill = slices_[slice].fills[(tag >> 1) % kFillBuckets];
    for (; fill != kNone; fill = pools_.fills[fill].next) {
        const Fill& candidate = pools_.fills[fill];
        if (candidate.row == tag >> 1 && candidate.far == ((tag & 1) != 0) && (candidate.lines >> line & 1) != 0) return fill;
    }
    throw ModelError(fmt::format("{}: a line awaits a fill that is not on its way", name()));
}

std::uint32_t L2Partition::any_fill_of_set(std::size_t slice, std::size_t line, std::uint32_t row) const {
    for (const std::uint32_t bucket : slices_[slice].fills) {
        for (std::uint32_t fill = bucket; fill != kNone; fill = pools_.fills[fill].next) {
            const Fill& candidate = pools_.fills[fill];
            if (candidate.row % groups_ == row % groups_ && (candidate.lines >> line & 1) != 0) return fill;
        }
    }
    throw ModelError(fmt::format("{}: a set is full of fills that are not on their way", name()));
}

void L2Partition::add_fill(std::size_t slice, std::uint32_t fill) {
    std::uint32_t& head = slices_[slice].fills[pools_.fills[fill].row % kFillBuckets];
    pools_.fills[fill].next = head;
    head = fill;
}

void L2Partition::remove_fill(std::size_t slice, std::uint32_t fill) {
    std::uint32_t* link = &slices_[slice].fills[pools_.fills[fill].row % kFillBuckets];
    while (*link != fill) link = &pools_.fills[*link].next;
    *link = pools_.fills[fill].next;
}

int L2Partition::allocate(std::size_t slice, std::size_t line, std::uint32_t row, std::uint32_t tag, int policy, std::int64_t now_ps) {
    auto& tags = slices_[slice].tags;
    TagStore::Set& set = tags.set(set_of(row, static_cast<int>(line)));
    const int way = tags.victim(set);
    if (way < 0) return -1;
    const unsigned dirty = static_cast<unsigned>(set.state[way]) >> TagStore::kDirtyShift & TagStore::kSectors;
    if (dirty != 0) {
        // Dirty lines are at home here: their tag is a row and no far bit. Lines of one granule leave together.
        const std::uint32_t old_row = set.tag[way] >> 1;
        if (victim_sectors_ != 0 && old_row != victim_row_) flush_victim(slice, now_ps);
        victim_row_ = old_row;
        victim_sectors_ |= static_cast<std::uint64_t>(dirty) << (line * static_cast<std::size_t>(sectors_per_line_));
    }
    set.state[way] = policy == 2 ? TagStore::kKeep : 0;
    set.tag[way] = tag;
    if (policy == 1) {
        tags.demote(set, way);
    } else {
        TagStore::touch(set, way);
    }
    return way;
}

void L2Partition::flush_victim(std::size_t slice, std::int64_t now_ps) {
    if (victim_sectors_ == 0) return;
    const std::uint64_t sectors = victim_sectors_;
    victim_sectors_ = 0;
    counters_.l2_writeback_bytes += static_cast<std::uint64_t>(sector_count(sectors) * sector_bytes_);
    issue_runs(slice, victim_row_, sectors, kNone, now_ps);
}

void L2Partition::mark_written(std::size_t slice_index, std::uint32_t row, std::uint64_t sectors, int policy, std::int64_t now_ps) {
    auto& tags = slices_[slice_index].tags;
    const std::uint32_t tag = row << 1;
    unsigned copied = 0;
    int likely = 0;
    for (std::size_t line = 0; line < lines_per_granule_; ++line) {
        const auto shift = line * static_cast<std::size_t>(sectors_per_line_);
        const auto written = static_cast<unsigned>(sectors >> shift) & sector_mask_;
        if (written == 0) continue;
        TagStore::Set& set = tags.set(set_of(row, static_cast<int>(line)));
        int way = TagStore::find(set, tag, likely);
        if (way < 0) {
            way = allocate(slice_index, line, row, tag, policy, now_ps);
        } else {
            TagStore::touch(set, way);
        }
        if (way < 0) {
            // No way is free of a fill: the sectors go straight to memory.
            const std::uint64_t through = static_cast<std::uint64_t>(written) << shift;
            counters_.l2_writeback_bytes += static_cast<std::uint64_t>(sector_count(through) * sector_bytes_);
            issue_runs(slice_index, row, through, kNone, now_ps);
            continue;
        }
        likely = way;
        if ((set.state[way] & TagStore::kCopied) != 0) copied |= 1U << line;
        set.state[way] = static_cast<std::uint16_t>((set.state[way] & ~TagStore::kCopied) | written | written << TagStore::kDirtyShift);
    }
    flush_victim(slice_index, now_ps);
    if (copied != 0) {
        const std::int64_t link_ps = wiring_.link_ps[static_cast<std::size_t>(slice_numbers_[slice_index])];
        send(*other_, now_ps + link_ps, withdraw, row, static_cast<std::uint32_t>(slice_index) << 8 | copied);
    }
}

void L2Partition::withdraw_copy(std::size_t slice, std::uint32_t row, unsigned lines) {
    for (std::size_t line = 0; line < lines_per_granule_; ++line) {
        if ((lines >> line & 1) == 0) continue;
        TagStore::Set& set = slices_[slice].tags.set(set_of(row, static_cast<int>(line)));
        const int way = TagStore::find(set, row << 1 | 1, 0);
        // A copy on its way was read before the write: it answers those who asked and is then stale by one write, which
        // costs no time here.
        if (way >= 0 && (set.state[way] & TagStore::kPending) == 0) set.state[way] &= static_cast<std::uint16_t>(~TagStore::kSectors);
    }
}

void L2Partition::add_asker(std::uint32_t fill, std::uint32_t who) {
    const std::uint32_t node = pools_.askers.take();
    pools_.askers[node] = {who, pools_.fills[fill].askers};
    pools_.fills[fill].askers = node;
}

void L2Partition::fetch(std::uint32_t index, std::int64_t ready_ps) {
    const Fill& fill = pools_.fills[index];
    if (!fill.far) {
        issue_runs(fill.slice, fill.row, fill.sectors, index, ready_ps + miss_ps_);
        return;
    }
    const double header = header_bytes_ * __builtin_popcount(fill.lines);
    const auto leaves = static_cast<std::int64_t>(link_out_.reserve(static_cast<double>(ready_ps), header * wiring_.link));
    const std::int64_t link_ps = wiring_.link_ps[static_cast<std::size_t>(slice_numbers_[fill.slice])];
    pools_.fills[index].link_ps = static_cast<std::int32_t>(leaves - ready_ps + link_ps);
    send(*other_, leaves + link_ps, far_read, index);
}

void L2Partition::issue_runs(std::size_t slice, std::uint32_t row, std::uint64_t sectors, std::uint32_t fill, std::int64_t ready_ps) {
    // A granule is cut into pieces that go round over the slice's channels; within a channel its bursts are consecutive.
    const auto pieces = static_cast<unsigned>(lines_per_granule_ * static_cast<std::size_t>(sectors_per_line_)) / wiring_.map.piece_sectors();
    const auto piece_sectors = wiring_.map.piece_sectors();
    const auto channels = static_cast<unsigned>(wiring_.map.channels_per_slice());
    const AddressMap::DramPlace place = wiring_.map.dram(row);
    for (unsigned piece = 0; piece < pieces; ++piece) {
        std::uint64_t left = sectors >> (piece * piece_sectors) & (piece_sectors == 64 ? ~0ULL : (1ULL << piece_sectors) - 1);
        while (left != 0) {
            const int first = __builtin_ctzll(left);
            const int length = left >> first == ~0ULL >> first ? 64 - first : __builtin_ctzll(~(left >> first));
            const std::uint32_t index = pools_.runs.take();
            pools_.runs[index] = {fill, place.page, static_cast<std::uint16_t>(place.first_burst + piece / channels * piece_sectors + static_cast<unsigned>(first)),
                                  static_cast<std::uint16_t>(length), static_cast<std::uint16_t>(slice),
                                  static_cast<std::uint8_t>((piece + row) % channels), fill == kNone, ready_ps};
            if (fill != kNone) ++pools_.fills[fill].runs;
            send_run(slice, index, ready_ps);
            left &= ~(((length == 64 ? 0ULL : 1ULL << length) - 1) << first);
        }
    }
}

void L2Partition::send_run(std::size_t slice_index, std::uint32_t index, std::int64_t ready_ps) {
    const auto number = static_cast<std::size_t>(slice_numbers_[slice_index]);
    if (pools_.runs[index].write) slices_[slice_index].writes_in_flight += pools_.runs[index].bursts;
    const std::int64_t due = ready_ps + wiring_.slice_to_controller_ps[number] + wiring_.controller_to_stack_ps[number];
    send(*stacks_[static_cast<std::size_t>(wiring_.slice_stack[number])], due, HbmStack::access, index, static_cast<std::uint32_t>(number));
}

void L2Partition::finish_run(std::uint32_t index, std::int64_t now_ps) {
    const DramRun run = pools_.runs[index];
    pools_.runs.give_back(index);
    auto& slice = slices_[run.slice];
    if (run.fill != kNone) {
        Fill& fill = pools_.fills[run.fill];
        if (--fill.runs == 0) finish_fill(run.fill, now_ps + fill_ps_);
        return;
    }
    slice.writes_in_flight -= run.bursts;
    while (!slice.stalled.empty() && slice.writes_in_flight <= write_limit_) {
        const std::uint32_t chunk = slice.stalled.pop(shared_.chunks);
        const std::int64_t begun = look_up_begins(slice, shared_.chunks[chunk].lines, now_ps);
        if (shared_.chunks[chunk].access == Access::read) {
            read(chunk, begun);
        } else {
            write(chunk, begun);
        }
    }
}

void L2Partition::finish_fill(std::uint32_t index, std::int64_t ready_ps) {
    const Fill fill = pools_.fills[index];
    const std::size_t first_set = set_of(fill.row, 0);
    for (unsigned left = fill.lines; left != 0; left &= left - 1) {
        const auto line = static_cast<std::size_t>(__builtin_ctz(left));
        TagStore::Set& set = slices_[fill.slice].tags.set(first_set + line);
        std::uint16_t& state = set.state[fill.ways >> (4 * line) & 15];
        const auto arrived = static_cast<unsigned>(fill.sectors >> (line * static_cast<std::size_t>(sectors_per_line_))) & sector_mask_;
        state = static_cast<std::uint16_t>((state & ~TagStore::kPending) | arrived);
    }
    remove_fill(fill.slice, index);
    // Those that asked first are answered first.
    std::uint32_t list = fill.askers, ordered = kNone;
    while (list != kNone) {
        const std::uint32_t next = pools_.askers[list].next;
        pools_.askers[list].next = ordered;
        ordered = list;
        list = next;
    }
    pools_.fills.give_back(index);
    while (ordered != kNone) {
        const Asker asker = pools_.askers[ordered];
        pools_.askers.give_back(ordered);
        ordered = asker.next;
        wake_asker(asker.who, fill, ready_ps);
    }
}

void L2Partition::wake_asker(std::uint32_t who, const Fill& fill, std::int64_t ready_ps) {
    if ((who & Asker::kFarFill) != 0) {
        const std::uint32_t index = who & ~Asker::kFarFill;
        Fill& asking = pools_.fills[index];
        asking.hbm_ps = std::max(asking.hbm_ps, fill.hbm_ps);
        asking.interposer_ps = std::max(asking.interposer_ps, fill.interposer_ps);
        if (--asking.waiting != 0) return;
        // The line is written first; the request from the other half is then replayed.
        if (asking.replay) {
            accept_far_read(index, ready_ps + replay_ps_, true);
        } else {
            answer_far(index, ready_ps + replay_ps_);
        }
        return;
    }
    Chunk& chunk = shared_.chunks[who];
    chunk.hbm_ps = std::max(chunk.hbm_ps, fill.hbm_ps);
    chunk.interposer_ps = std::max(chunk.interposer_ps, fill.interposer_ps);
    chunk.link_ps = std::max(chunk.link_ps, fill.link_ps);
    if (--chunk.waiting != 0) return;
    if (!chunk.replay) {
        if (chunk.access == Access::read) {
            answer(who, ready_ps);
        } else {
            finish_reduce(who, ready_ps);
        }
    } else if (chunk.access == Access::read) {
        read(who, ready_ps);
    } else {
        write_home(who, static_cast<std::size_t>(wiring_.slice_index[chunk.slice]), ready_ps);
    }
}

}  // namespace memwall::chip
