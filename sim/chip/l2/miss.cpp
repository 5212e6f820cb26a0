// The miss side of an L2 partition: allocation, fills, write-back, and the queues in front of the pseudo-channels.

#include <fmt/core.h>

#include <algorithm>

#include "chip/hbm/stack.h"
#include "chip/l2/partition.h"

namespace memwall::chip {

namespace {

/// Gives a way to another line, none of whose sectors is there yet.
void name_line(TagStore::Set& set, int way, std::uint16_t tag, bool far, bool keep) {
    const auto others = static_cast<std::uint16_t>(~(1U << way));
    set.tag[way] = tag;
    set.sectors[way] = 0;
    set.far = static_cast<std::uint16_t>((set.far & others) | static_cast<unsigned>(far) << way);
    set.keep = static_cast<std::uint16_t>((set.keep & others) | static_cast<unsigned>(keep) << way);
    set.copied &= others;
}

}  // namespace

L2Partition::Lookup L2Partition::look_up(std::size_t slice_index, std::uint32_t row, bool far, std::uint64_t sectors,
                                         std::uint32_t who, int policy, std::int64_t ready_ps) {
    auto& tags = slices_[slice_index].tags;
    const std::uint16_t tag = tag_of(row);
    // A far fill's answer makes a copy: its home remembers that.
    const bool copied = (who & Asker::kFarFill) != 0;
    const std::size_t first_set = set_of(row, 0);
    Lookup found;
    std::uint64_t missing = 0, passing = 0, ways = 0;
    unsigned missing_lines = 0;
    int likely = 0;
    std::uint32_t last_fill = kNone;
    const auto wait_for = [&](std::uint32_t fill) {
        if (fill == last_fill) return;
        last_fill = fill;
        add_asker(fill, who);
        ++found.waits;
    };
    for (std::uint64_t left = sectors; left != 0;) {
        const auto line = static_cast<std::size_t>(__builtin_ctzll(left)) >> line_shift_;
        const auto shift = line << line_shift_;
        const auto wanted = static_cast<unsigned>(sectors >> shift) & sector_mask_;
        left &= ~(static_cast<std::uint64_t>(sector_mask_) << shift);
        TagStore::Set& set = tags.set(first_set + line);
        int way = TagStore::find(set, tag, far, likely);
        if (way >= 0) {
            likely = way;
            TagStore::touch(set, way);
            if (copied) TagStore::put(set.copied, way, true);
            const unsigned present = set.sectors[way];
            if ((wanted & ~present) == 0) {
                found.hit |= static_cast<std::uint64_t>(wanted) << shift;
                continue;
            }
            if (set.is(set.pending, way)) {
                const std::uint32_t fill = find_fill(slice_index, row, far, line);
                wait_for(fill);
                const auto coming = static_cast<unsigned>(pools_.fills[fill].sectors >> shift) & sector_mask_;
                // What is on its way costs memory nothing more: a hit on a miss.
                found.hit |= static_cast<std::uint64_t>(wanted & (present | coming)) << shift;
                if ((wanted & ~present & ~coming) != 0) found.replay = true;
                continue;
            }
        } else {
            way = policy == 0 ? tags.take_clean_victim(set) : -1;
            if (way >= 0) {
                name_line(set, way, tag, far, false);
            } else {
                way = allocate(slice_index, line, row, far, policy, ready_ps);
            }
            if (way < 0) {
                // Every way of the set awaits a fill. To wait for one could close a circle between the halves, each
                // full of copies that the other must deliver: the sectors pass without being kept.
                passing |= static_cast<std::uint64_t>(fetched_[wanted]) << shift;
                continue;
            }
            likely = way;
            if (copied) TagStore::put(set.copied, way, true);
        }
        missing |= static_cast<std::uint64_t>(fetched_[wanted & ~static_cast<unsigned>(set.sectors[way])]) << shift;
        TagStore::put(set.pending, way, true);
        missing_lines |= 1U << line;
        ways |= static_cast<std::uint64_t>(way) << (4 * line);
    }
    flush_victim(slice_index, ready_ps);
    const FillTarget target{slice_index, row, far, policy};
    if (missing_lines != 0) found.waits += start_fill(target, missing, missing_lines, ways, who, ready_ps);
    if (passing != 0) found.waits += start_fill(target, passing, 0, 0, who, ready_ps);
    return found;
}

int L2Partition::start_fill(const FillTarget& target, std::uint64_t sectors, unsigned lines, std::uint64_t ways,
                            std::uint32_t who, std::int64_t ready_ps) {
    const std::uint32_t index = pools_.fills.take();
    Fill& fill = pools_.fills[index];
    fill = Fill{};
    fill.sectors = sectors;
    fill.ways = ways;
    fill.row = target.row;
    fill.slice = static_cast<std::uint16_t>(target.slice);
    fill.lines = static_cast<std::uint16_t>(lines);
    fill.far = target.far;
    fill.policy = static_cast<std::uint8_t>(target.policy);
    fill.first_asker = who;
    fill.more_askers = kNone;
    if (lines != 0) add_fill(target.slice, index);
    fetch(index, ready_ps);
    return 1;
}

std::uint32_t L2Partition::find_fill(std::size_t slice, std::uint32_t row, bool far, std::size_t line) const {
    std::uint32_t fill = slices_[slice].fills[fill_bucket(row)];
    for (; fill != kNone; fill = pools_.fills[fill].next) {
        const Fill& candidate = pools_.fills[fill];
        if (candidate.row == row && candidate.far == far && (candidate.lines >> line & 1) != 0) return fill;
    }
    throw ModelError(fmt::format("{}: a line awaits a fill that is not on its way", name()));
}

void L2Partition::add_fill(std::size_t slice, std::uint32_t fill) {
    std::uint32_t& head = slices_[slice].fills[fill_bucket(pools_.fills[fill].row)];
    pools_.fills[fill].next = head;
    pools_.fills[fill].previous = kNone;
    if (head != kNone) pools_.fills[head].previous = fill;
    head = fill;
}

void L2Partition::remove_fill(const Fill& fill) {
    if (fill.next != kNone) pools_.fills[fill.next].previous = fill.previous;
    if (fill.previous != kNone) {
        pools_.fills[fill.previous].next = fill.next;
    } else {
        slices_[fill.slice].fills[fill_bucket(fill.row)] = fill.next;
    }
}

int L2Partition::allocate(std::size_t slice, std::size_t line, std::uint32_t row, bool far, int policy,
                          std::int64_t now_ps) {
    auto& tags = slices_[slice].tags;
    TagStore::Set& set = tags.set(set_of(row, static_cast<int>(line)));
    const int way = tags.victim(set);
    if (way < 0) return -1;
    const unsigned dirty = static_cast<unsigned>(set.sectors[way]) >> TagStore::kDirtyShift;
    if (dirty != 0) {
        // Dirty lines are at home here. Lines of one granule leave together.
        const std::uint32_t old_row = set.tag[way] * groups_.value() + groups_.remainder(row);
        if (victim_sectors_ != 0 && old_row != victim_row_) flush_victim(slice, now_ps);
        victim_row_ = old_row;
        victim_sectors_ |= static_cast<std::uint64_t>(dirty) << (line << line_shift_);
    }
    name_line(set, way, tag_of(row), far, policy == 2);
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

void L2Partition::mark_written(std::size_t slice_index, std::uint32_t row, std::uint64_t sectors, int policy,
                               std::int64_t now_ps) {
    auto& tags = slices_[slice_index].tags;
    const std::uint16_t tag = tag_of(row);
    const std::size_t first_set = set_of(row, 0);
    unsigned copied = 0;
    int likely = 0;
    for (std::size_t line = 0; line < lines_per_granule_; ++line) {
        const auto shift = line << line_shift_;
        const auto written = static_cast<unsigned>(sectors >> shift) & sector_mask_;
        if (written == 0) continue;
        TagStore::Set& set = tags.set(first_set + line);
        int way = TagStore::find(set, tag, false, likely);
        if (way < 0) {
            way = allocate(slice_index, line, row, false, policy, now_ps);
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
        if (set.is(set.copied, way)) copied |= 1U << line;
        TagStore::put(set.copied, way, false);
        set.sectors[way] |= static_cast<std::uint8_t>(written | written << TagStore::kDirtyShift);
    }
    flush_victim(slice_index, now_ps);
    if (copied != 0) {
        const std::int64_t link_ps = wiring_.link_ps[static_cast<std::size_t>(slice_numbers_[slice_index])];
        send(*other_, now_ps + link_ps, withdraw, row, static_cast<std::uint32_t>(slice_index) << 16 | copied);
    }
}

void L2Partition::withdraw_copy(std::size_t slice, std::uint32_t row, unsigned lines) {
    for (std::size_t line = 0; line < lines_per_granule_; ++line) {
        if ((lines >> line & 1) == 0) continue;
        TagStore::Set& set = slices_[slice].tags.set(set_of(row, static_cast<int>(line)));
        const int way = TagStore::find(set, tag_of(row), true, 0);
        // A copy on its way was read before the write: it answers those who asked and is then stale by one write, which
        // costs no time here.
        if (way >= 0 && !set.is(set.pending, way)) set.sectors[way] = 0;
    }
}

void L2Partition::add_asker(std::uint32_t index, std::uint32_t who) {
    Fill& fill = pools_.fills[index];
    if (fill.first_asker == kNone) {
        fill.first_asker = who;
        return;
    }
    const std::uint32_t node = pools_.askers.take();
    pools_.askers[node] = {who, fill.more_askers};
    fill.more_askers = node;
}

void L2Partition::fetch(std::uint32_t index, std::int64_t ready_ps) {
    const Fill& fill = pools_.fills[index];
    if (!fill.far) {
        issue_runs(fill.slice, fill.row, fill.sectors, index, ready_ps + miss_ps_);
        return;
    }
    const double header = header_bytes_ * std::max(1, __builtin_popcount(fill.lines));
    const auto leaves =
        static_cast<std::int64_t>(link_out_.reserve(static_cast<double>(ready_ps), header * wiring_.link));
    const std::int64_t link_ps = wiring_.link_ps[static_cast<std::size_t>(slice_numbers_[fill.slice])];
    pools_.fills[index].link_ps = static_cast<std::int32_t>(leaves - ready_ps + link_ps);
    send(*other_, leaves + link_ps, far_read, index);
}

void L2Partition::issue_runs(std::size_t slice, std::uint32_t row, std::uint64_t sectors, std::uint32_t fill,
                             std::int64_t ready_ps) {
    // A granule is cut into pieces that go round over the slice's channels; within a channel its bursts are
    // consecutive.
    const std::uint32_t piece_sectors = wiring_.map.piece_sectors(), channels = channels_.value();
    const AddressMap::DramPlace place = wiring_.map.dram(row);
    std::uint32_t burst = place.first_burst, channel = channels_.remainder(row), dealt = 0;
    for (unsigned piece = 0; piece < pieces_; ++piece) {
        std::uint64_t left =
            sectors >> (piece * piece_sectors) & (piece_sectors == 64 ? ~0ULL : (1ULL << piece_sectors) - 1);
        while (left != 0) {
            const int first = __builtin_ctzll(left);
            const int length = left >> first == ~0ULL >> first ? 64 - first : __builtin_ctzll(~(left >> first));
            const std::uint32_t index = pools_.runs.take();
            pools_.runs[index] = {fill,
                                  place.page,
                                  static_cast<std::uint16_t>(burst + static_cast<unsigned>(first)),
                                  static_cast<std::uint16_t>(length),
                                  static_cast<std::uint16_t>(slice),
                                  static_cast<std::uint8_t>(channel),
                                  fill == kNone,
                                  ready_ps};
            if (fill != kNone) ++pools_.fills[fill].runs;
            send_run(slice, index, ready_ps);
            left &= ~(((length == 64 ? 0ULL : 1ULL << length) - 1) << first);
        }
        if (++channel == channels) channel = 0;
        if (++dealt == channels) {
            dealt = 0;
            burst += piece_sectors;
        }
    }
}

void L2Partition::send_run(std::size_t slice_index, std::uint32_t index, std::int64_t ready_ps) {
    const auto number = static_cast<std::size_t>(slice_numbers_[slice_index]);
    if (pools_.runs[index].write) slices_[slice_index].writes_in_flight += pools_.runs[index].bursts;
    const std::int64_t due = ready_ps + wiring_.slice_to_controller_ps[number] + wiring_.controller_to_stack_ps[number];
    send(*stacks_[static_cast<std::size_t>(wiring_.slice_stack[number])], due, HbmStack::access, index,
         static_cast<std::uint32_t>(number));
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
        const std::uint32_t chunk = slice.stalled.front();
        slice.stalled.pop();
        const std::int64_t begun = look_up_begins(slice, accesses_of(shared_.chunks[chunk]), now_ps);
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
        const auto way = static_cast<int>(fill.ways >> (4 * line) & 15);
        const auto arrived = static_cast<unsigned>(fill.sectors >> (line << line_shift_)) & sector_mask_;
        TagStore::put(set.pending, way, false);
        set.sectors[way] |= static_cast<std::uint8_t>(arrived);
    }
    if (fill.lines != 0) remove_fill(fill);
    // Those that asked first are answered first.
    std::uint32_t list = fill.more_askers, ordered = kNone;
    while (list != kNone) {
        const std::uint32_t next = pools_.askers[list].next;
        pools_.askers[list].next = ordered;
        ordered = list;
        list = next;
    }
    pools_.fills.give_back(index);
    wake_asker(fill.first_asker, fill, ready_ps);
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
    if (--chunk.waiting != 0) return;
    note_wait(chunk, fill, ready_ps);
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
