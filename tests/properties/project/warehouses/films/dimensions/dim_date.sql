/*
calendar: {from: 2020-01-01, to: 2020-12-31}
*/
select date, year(date) as year, month(date) as month from calendar
