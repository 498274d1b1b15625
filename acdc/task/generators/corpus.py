"""Word lists that several generators draw from.

The order of a list decides which rows a seed gives. A generator asks the tokenizer at hand which words are one token,
and drops the others.
"""

from itertools import chain

FEMALE_NAMES = (
    "Mary", "Anna", "Sarah", "Laura", "Emma", "Alice", "Kate", "Rachel", "Lisa", "Maria", "Julia", "Helen", "Susan",
    "Jane", "Amy", "Rose", "Grace", "Claire", "Karen", "Diana",
)  # fmt: skip

MALE_NAMES = (
    "John", "Paul", "Mark", "Peter", "James", "David", "Simon", "Adam", "Kevin", "Daniel", "Robert", "Thomas",
    "George", "Henry", "Jack", "Martin", "Michael", "Andrew", "Brian", "Steven",
)  # fmt: skip

NAMES = tuple(chain.from_iterable(zip(FEMALE_NAMES, MALE_NAMES, strict=True)))

PLACES = ("store", "garden", "park", "school", "office", "station", "hospital", "beach", "market", "library")

OBJECTS = ("drink", "book", "ring", "kiss", "letter", "ball", "gift", "key", "map", "coin")

EVENTS = (
    "war", "trial", "siege", "strike", "journey", "project", "famine", "reign", "dispute", "campaign", "festival",
    "voyage", "conflict", "study", "mission", "alliance",
)  # fmt: skip

CENTURIES = ("11", "12", "13", "14", "15", "16", "17")

YEARS = tuple(f"{year:02d}" for year in range(100))

THINGS = (
    "apple", "river", "stone", "cloud", "bread", "chair", "tiger", "candle", "bridge", "window", "mirror", "basket",
    "hammer", "pepper", "rocket", "violin", "blanket", "copper", "desert", "engine", "feather", "glacier", "harbor",
    "island", "jacket", "kettle", "lemon", "marble", "needle", "orange", "pencil", "quartz", "ribbon", "saddle",
    "temple", "umbrella", "valley", "walnut", "yogurt", "zebra", "anchor", "button", "carpet", "dragon", "eagle",
    "forest", "guitar", "helmet",
)  # fmt: skip
