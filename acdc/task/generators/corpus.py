"""Word lists that the generators draw from.

Every name and object is one token (with a leading space) in GPT-2's vocabulary as far as we know; a generator checks
that with the tokenizer at hand and drops the words that split.
"""

NAMES = (
    "Mary", "John", "Anna", "Paul", "Sarah", "Mark", "Laura", "Peter", "Emma", "James", "Alice", "David", "Kate",
    "Simon", "Rachel", "Adam", "Lisa", "Kevin", "Maria", "Daniel", "Julia", "Robert", "Helen", "Thomas", "Susan",
    "George", "Jane", "Henry", "Amy", "Jack", "Rose", "Martin", "Grace", "Michael", "Claire", "Andrew", "Karen",
    "Brian", "Diana", "Steven",
)  # fmt: skip

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
