// The tag store of a slice: true LRU, victims that are free of fills, and policies.
#include "chip/l2/tags.h"

#include <gtest/gtest.h>

#include <list>
#include <random>

namespace memwall::chip {
namespace {

/// Touches `tag` in set 0 as a cache would; true on a hit.
bool access(TagStore& tags, std::uint16_t tag) {
    TagStore::Set& set = tags.set(0);
    int way = TagStore::find(set, tag, false, 0);
    const bool hit = way >= 0;
    if (!hit) {
        way = tags.victim(set);
        set.tag[way] = tag;
    }
    TagStore::touch(set, way);
    return hit;
}

std::uint16_t victim_tag(TagStore& tags) {
    return tags.set(0).tag[tags.victim(tags.set(0))];
}
int way_of(TagStore& tags, std::uint16_t tag) {
    return TagStore::find(tags.set(0), tag, false, 0);
}

TEST(TagStore, AgreesWithAListThatIsTrulyLeastRecentlyUsed) {
    for (const int ways : {4, 10, 16}) {
        TagStore tags(1, ways, Replacement::lru);
        std::list<std::uint16_t> recent;
        std::mt19937 random(1);
        for (int i = 0; i < 20000; ++i) {
            const auto tag = static_cast<std::uint16_t>(random() % static_cast<unsigned>(ways * 2));
            const auto found = std::find(recent.begin(), recent.end(), tag);
            const bool expected = found != recent.end();
            if (expected) recent.erase(found);
            recent.push_front(tag);
            if (recent.size() > static_cast<std::size_t>(ways)) recent.pop_back();
            ASSERT_EQ(access(tags, tag), expected) << "access " << i << " with " << ways << " ways";
        }
    }
}

TEST(TagStore, ThrashesOnACycleOneLongerThanItsWays) {
    TagStore tags(1, 16, Replacement::lru);
    int hits = 0;
    for (int i = 0; i < 17 * 100; ++i) hits += access(tags, static_cast<std::uint16_t>(i % 17));
    EXPECT_EQ(hits, 0);  // the textbook case: LRU on a cyclic walk
}

TEST(TagStore, NeverEvictsALineThatAwaitsAFill) {
    TagStore tags(1, 4, Replacement::lru);
    for (std::uint16_t tag = 0; tag < 4; ++tag) access(tags, tag);
    TagStore::put(tags.set(0).pending, way_of(tags, 0), true);  // the oldest
    EXPECT_EQ(victim_tag(tags), 1U);
    tags.set(0).pending = 0xFFFF;
    EXPECT_EQ(tags.victim(tags.set(0)), -1);
}

TEST(TagStore, DemotedLinesGoFirstAndKeptLinesLast) {
    TagStore tags(1, 10, Replacement::lru);
    for (std::uint16_t tag = 0; tag < 10; ++tag) access(tags, tag);
    tags.demote(tags.set(0), way_of(tags, 7));
    EXPECT_EQ(victim_tag(tags), 7U);
    access(tags, 7);
    TagStore::put(tags.set(0).keep, way_of(tags, 0), true);
    EXPECT_EQ(victim_tag(tags), 1U);
}

}  // namespace
}  // namespace memwall::chip
