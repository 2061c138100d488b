"""The pages for whoever is on duty.

How to add one:

1. A module here, imported by `service.app` (which registers `shell.blueprint` after it).

       from service.web.pages.shell import page, render

       @page("/sessions", scope=Scope.READ)
       def sessions() -> Response:
           return render("pages/sessions.html", place="sessions", rows=...)

   `page` makes the route, on the blueprint `pages`, and says which scope it needs. `methods=["POST"]` is for
   what changes something. Nobody comes in without a log-in that has the scope; a POST needs the form's
   token and comes from our own origin besides (`guard.logged_in`). `auth.key()` and `auth.accounts()` work as
   in the API: what the key may not see does not exist (raise UnknownSession, or use `auth.known`).
   Exceptions become a page of their own (`shell.show_problem`): the same table as the API's.
2. A template that extends `pages/shell.html`, with the blocks `title` and `main`. `place` marks the entry of
   the navigation: "now", "sessions".
   - Links are relative, for a proxy may add a prefix: `{{ to("/sessions", state="failed") }}`.
   - Forms: `<form method="post" action="{{ to(...) }}">` with `{{ parts.form_token(token) }}` in it.
   - Times: `{{ parts.moment(at) }}`, `{{ parts.ago(at, now) }}`; states: `{{ parts.state(word) }}`.
   - What is inside `<div data-live id="…">` is fetched anew every few seconds and put in place; focus, what
     is typed, scroll and open <details> stay. Give what comes and goes an `id`, so that it is told apart.
   - No inline script, style or `style=""`: the policy forbids them. Charts are inline SVG with attributes and
     classes, with a table beside. Classes are in static/page.css.
3. A redirect after a POST: `shell.go(path)` (303, relative).
4. Its route stands in the list of tests/web/pages/test_routes.py.
"""
