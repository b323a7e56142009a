"""The portal: the same plane as pages, for people.

It owns pages, forms and browsers' sessions at the wire, and nothing else: every page reads and writes through the use cases behind the
APIs (`view.Desk`), as the person who is signed in, so that roles, locks and logs are those of every other client. HTML is made on the
server; without scripts everything works, and with them it is livelier.

`surface` takes a request through session, route and form check to a page; `catalogue` lists the pages' modules; `rendering` makes HTML of
what they return; `static` are the style, the script and the icons. Nothing of this is imported before the first request (`late`).
"""
