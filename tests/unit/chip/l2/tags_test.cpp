// The tag store of a slice: true LRU, victims that are free of fills, and policies.
#include "chip/l2/tags.h"

#include <gtest/gtest.h>

#include <list>
#include <random>

namespace memwall::chip {
namespace {

/// Touches `tag` in set 0 as a cache would; true on a hit.
bool access(TagStore& tags, std::uint32_t tag) {
    TagStore::Set& set = tags.set(0);
    int way = TagStore::find(set, tag, 0);
    const bool hit = way >= 0;
    if (!hit) {
        way = tags.victim(set);
        set.tag[way] = tag;
    }
    TagStore::touch(set, way);
    return hit;
}

std::uint32_t victim_tag(TagStore& tags) { return tags.set(0).tag[tags.victim(tags.set(0))]; }
std::uint16_t& state_of(TagStore& tags, std::uint32_t tag) { return tags.set(0).state[TagStore::find(tags.set(0), tag, 0)]; }

TEST(TagStore, AgreesWithAListThatIsTrulyLeastRecentlyUsed) {
    for (const int ways : {4, 10, 16}) {
        TagStore tags(1, ways, Replacement::lru);
        std::list<std::uint32_t> recent;
        std::mt19937 random(1);
        for (int i = 0; i < 20000; ++i) {
            const std::uint32_t tag = random() % static_cast<unsigned>(ways * 2);
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
    for (int i = 0; i < 17 * 100; ++i) hits += access(tags, static_cast<std::uint32_t>(i % 17));
    EXPECT_EQ(hits, 0);  // the textbook case: LRU on a cyclic walk
}

TEST(TagStore, NeverEvictsALineThatAwaitsAFill) {
    TagStore tags(1, 4, Replacement::lru);
    for (std::uint32_t tag = 0; tag < 4; ++tag) access(tags, tag);
    state_of(tags, 0) |= TagStore::kPending;  // the oldest
    EXPECT_EQ(victim_tag(tags), 1U);
    for (auto& state : tags.set(0).state) state |= TagStore::kPending;
    EXPECT_EQ(tags.victim(tags.set(0)), -1);
}

TEST(TagStore, DemotedLinesGoFirstAndKeptLinesLast) {
    TagStore tags(1, 10, Replacement::lru);
    for (std::uint32_t tag = 0; tag < 10; ++tag) access(tags, tag);
    tags.demote(tags.set(0), TagStore::find(tags.set(0), 7, 0));
    EXPECT_EQ(victim_tag(tags), 7U);
    access(tags, 7);
    state_of(tags, 0) |= TagStore::kKeep;
    EXPECT_EQ(victim_tag(tags), 1U);
}

}  // namespace
}  // namespace memwall::chip
