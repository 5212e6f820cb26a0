// The L1 cache in front of plain loads that ask for it (ld.ca): what shared memory leaves of the SM's 256 KB.
#pragma once

#include <cstdint>
#include <vector>

#include "chip/l2/tags.h"

namespace memwall::chip {

class L1 {
public:
    L1(int bytes, int line_bytes)
        : line_shift_(static_cast<unsigned>(__builtin_ctz(static_cast<unsigned>(line_bytes)))),
          sets_(static_cast<std::uint64_t>(bytes / (line_bytes * kWays))),
          tags_(static_cast<int>(sets_), kWays, Replacement::lru) {}

    /// Looks a line up and brings it in when it was absent; true on a hit.
    bool access(std::uint64_t address) {
        const std::uint64_t line = address >> line_shift_;
        TagStore::Set& set = tags_.set(static_cast<std::size_t>(line % sets_));
        const auto tag = static_cast<std::uint16_t>(line / sets_ % TagStore::kInvalid);
        int way = TagStore::find(set, tag, false, 0);
        const bool hit = way >= 0;
        if (!hit) {
            way = tags_.victim(set);
            set.tag[way] = tag;
        }
        TagStore::touch(set, way);
        return hit;
    }

private:
    static constexpr int kWays = 4;
    unsigned line_shift_;
    std::uint64_t sets_;
    TagStore tags_;
};

}  // namespace memwall::chip
